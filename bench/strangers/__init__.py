"""Hostile callers of every kind, and the server that they meet: `python -m bench.strangers` measures what they do."""
