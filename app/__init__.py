"""The LEO service: HTTP, queue, cache and store around `model`. Knows nothing of gradients."""

__version__ = "0.1.0"
