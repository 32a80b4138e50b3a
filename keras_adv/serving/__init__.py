"""Trained models in the formats of servers."""
