"""Numerical methods that several attacks and defenses compute with, for a batch at once."""
