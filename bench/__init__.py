"""Benchmarks: each is a module to run, each writes its results into bench/results."""
