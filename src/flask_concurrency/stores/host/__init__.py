"""Counts that all processes of one host share through one mapped file, with no server to run."""
