"""Where the work of an app runs, and how its state is published."""
