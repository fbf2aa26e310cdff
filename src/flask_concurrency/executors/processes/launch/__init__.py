"""How do worker processes come to be, and who ends them? Knows no task and no pool."""
