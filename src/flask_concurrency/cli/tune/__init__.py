"""``flask concurrency tune``: load an app, and say what to set it to."""
