"""The LEO service: HTTP, queue, cache and store around `model`. Knows nothing of gradients."""
