"""For test suites, users' and ours: time that only moves when told."""
