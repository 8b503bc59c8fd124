"""What the engine does beside what it is compared with and beside what the machine could do."""
