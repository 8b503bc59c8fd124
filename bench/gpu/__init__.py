"""Tests, agreement and speed on a GPU machine, in at most five minutes: `make gpu`."""
