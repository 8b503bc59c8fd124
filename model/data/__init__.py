"""Data sets of drawings and photos, and the episodes drawn from them."""
