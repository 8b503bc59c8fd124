"""The HTTP layer: parses requests and writes answers. What a request does is in `app.tasks`."""
