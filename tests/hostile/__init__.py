"""Hostile callers and failing dependencies, against the service, its client and its commands."""
