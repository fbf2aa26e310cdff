"""``flask concurrency``: what a developer types."""
