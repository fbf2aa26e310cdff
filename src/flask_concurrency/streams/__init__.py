"""Streams of events: what they send, and how they end."""
