"""The model on its device: batches of work, the queue before it, and whether it is healthy."""
