"""Middleware around every route: keys, limits, security headers and the request log."""
