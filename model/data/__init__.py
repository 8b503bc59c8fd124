"""Data sets of drawings and photos, and few-shot tasks drawn from them."""
