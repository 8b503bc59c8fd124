"""Data sets of drawings and the episodes drawn from them."""
