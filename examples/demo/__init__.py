"""A page on one origin, an API on another: the four ways to concurrency, running for real."""
