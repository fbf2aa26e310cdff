"""Where does the work run? Knows nothing of limits, permits or responses."""
