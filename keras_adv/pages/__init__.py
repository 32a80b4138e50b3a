"""Markdown pages: `zoo` makes them from the cards, `methods` from the registry."""
