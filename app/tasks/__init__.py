"""Tasks: what creating, changing, asking and ending one means, whatever the transport."""
