"""What every request passes before a route: keys, limits, headers, the log."""
