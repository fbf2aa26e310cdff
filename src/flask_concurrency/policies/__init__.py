"""Arithmetic only: (state, now, cost) → (state, outcome). No clock, thread, I/O or Flask."""
