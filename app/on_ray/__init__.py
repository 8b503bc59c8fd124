"""The service as a Ray Serve deployment (`pip install .[ray]`); docs/scaling.md says when to use it."""
