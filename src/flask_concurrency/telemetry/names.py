"""Say what a counter is called, where its numbers are, and what they come to. Values alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Name = tuple[str, ...]
"""What is counted and its labels: ``("requests", "GET", "/items/<id>", "200")``."""

Change = tuple[Name, int, int, int]
"""A name, how many numbers it has, which of them grows, and by how much."""

Totals = Mapping[Name, tuple[int, ...]]
"""The numbers of each name."""


class Series(NamedTuple):
    """Where a name's numbers are.

    :ivar first: The number of its first cell.
    :ivar width: How many cells it has.
    """

    first: int
    width: int


def added_up(parts: Iterable[Totals]) -> Totals:
    """The sums by name; numbers of another version, in other buckets, are left out."""
    total: dict[Name, tuple[int, ...]] = {}
    for part in parts:
        for name, numbers in part.items():
            found = total.get(name)
            if found is None:
                total[name] = numbers
            elif len(found) == len(numbers):
                total[name] = tuple(map(int.__add__, found, numbers))
    return total
