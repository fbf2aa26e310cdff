"""Counts on a Redis or Valkey server, shared by every process that can reach it."""
