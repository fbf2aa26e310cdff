"""A chat by server-sent events."""
