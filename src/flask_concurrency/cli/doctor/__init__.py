"""``flask concurrency doctor``: what is wrong with a deployment, why, and how to mend it."""
