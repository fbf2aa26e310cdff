"""Let a pool have one thread more while one of its own is blocked by what needs a thread itself.

Knows neither the pool's queue nor what a thread waits for. The idea is that of Java's
``ForkJoinPool.ManagedBlocker``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class CompensatingPool(Protocol):
    """A pool that may start a thread in place of a blocked one."""

    def begin_blocking(self) -> None:
        """A thread begins to wait."""

    def end_blocking(self) -> None:
        """It waits no longer."""


class _Here(threading.local):
    pool: CompensatingPool | None = None


_here = _Here()


def set_pool_of_thread(pool: CompensatingPool) -> None:
    """Have the calling thread be one of ``pool``'s, for good."""
    _here.pool = pool


def managed_block(wait: Callable[[], T]) -> T:
    """Return ``wait()``, which returns when another thread or an event loop has done something."""
    pool = _here.pool
    if pool is None:
        return wait()
    pool.begin_blocking()
    try:
        return wait()
    finally:
        pool.end_blocking()
