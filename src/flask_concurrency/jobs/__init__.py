"""What outlives its request: jobs, the record that keeps them, and the worker that runs them."""
