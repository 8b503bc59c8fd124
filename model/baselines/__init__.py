"""What people use instead of LEO, and LEO itself, each behind the same two calls. See `method`."""
