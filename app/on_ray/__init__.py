"""The service on Ray Serve (`pip install .[ray]`); docs/scaling.md says when."""
