"""Overload: what an app answers in time, with and without guards."""
