"""Counts that change atomically: every check of a stage in one trip, all or nothing."""
