"""Say what a counter is called and where its numbers are. Holds values alone."""

from __future__ import annotations

from collections.abc import Mapping
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
