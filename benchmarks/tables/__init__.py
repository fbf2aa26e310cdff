"""What is measured, a table a file; each lists its ``BENCHMARKS``."""
