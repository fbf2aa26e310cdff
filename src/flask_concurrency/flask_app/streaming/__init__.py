"""Event streams and WebSockets in Flask."""
