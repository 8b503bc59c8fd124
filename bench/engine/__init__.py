"""What the service does beside other ways to serve the model, and beside what the machine could do."""
