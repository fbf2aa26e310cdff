"""How does it end? Deadlines, cancellation, drain and streams arrive here."""
