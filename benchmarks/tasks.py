"""The tasks that executors are given: as little work as can be, so that what is measured is theirs.

Imports next to nothing, because worker processes import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def echo(number: int) -> int:
    """Give back what came."""
    return number


def sum_of_ends(items: Sequence[float]) -> float:
    """Look at the first item and at the last: they have come."""
    return float(items[0] + items[-1])


def sum_of(items: Any) -> float:
    """Look at every item of an array."""
    return float(items.sum())


def sum_of_named(name: str, items: int) -> float:
    """Look likewise at floats in a block of ``multiprocessing.shared_memory``."""
    from multiprocessing import resource_tracker, shared_memory

    import numpy as np

    # Before Python 3.13 a process that opens a block would also remove it at its end.
    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None
    try:
        block = shared_memory.SharedMemory(name)
    finally:
        resource_tracker.register = register
    try:
        return sum_of(np.ndarray(items, np.float64, buffer=block.buf))
    finally:
        block.close()


def same(items: Sequence[float]) -> Sequence[float]:
    """Give back the items that came."""
    return items
