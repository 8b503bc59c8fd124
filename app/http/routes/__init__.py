"""HTTP only: what comes in, what goes out. What it means is in `app.tasks`."""
