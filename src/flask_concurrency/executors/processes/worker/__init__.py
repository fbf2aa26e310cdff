"""What a worker process does: it sets itself up, then runs one task after the other."""
