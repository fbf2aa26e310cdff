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


def sum_of_named(name: str, items: int) -> float:
    """Look likewise at floats in a block of ``multiprocessing.shared_memory``."""
    from multiprocessing import resource_tracker, shared_memory

    # Before Python 3.13 a process that opens a block would also remove it at its end.
    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None
    try:
        block = shared_memory.SharedMemory(name)
    finally:
        resource_tracker.register = register
    try:
        floats = memoryview(block.buf).cast("d")  # type: ignore[arg-type] # open, so it has one
        total = floats[0] + floats[items - 1]
        floats.release()
        return total
    finally:
        block.close()


def same(items: Sequence[float]) -> Sequence[float]:
    """Give back the items that came."""
    return items
