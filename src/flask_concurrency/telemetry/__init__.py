"""What happened: counts of all processes of a host, and how they are shown to monitoring."""
