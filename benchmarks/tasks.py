"""The tasks that executors are given: as little work as can be, so that what is measured is theirs.

Imports nothing, because worker processes import it.
"""

from __future__ import annotations


def echo(number: int) -> int:
    """Give back what came."""
    return number
