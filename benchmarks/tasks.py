"""The tasks that executors are given: as little work as can be, so that what is measured is theirs.

Imports next to nothing, because worker processes import it.
"""

from __future__ import annotations

from collections.abc import Sequence


def echo(number: int) -> int:
    """Give back what came."""
    return number


def sum_of_ends(items: Sequence[float]) -> float:
    """Look at the first item and at the last: they have come."""
    return float(items[0] + items[-1])


def same(items: Sequence[float]) -> Sequence[float]:
    """Give back the items that came."""
    return items
