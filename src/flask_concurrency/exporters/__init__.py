"""Show what was counted to monitoring systems."""
