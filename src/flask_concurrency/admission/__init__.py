"""May it come in? Limiters, and the gate that asks all of them at once."""
