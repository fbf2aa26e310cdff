"""Decide what a thread of a crew lends while it waits for an event loop: its right to be at work.

Knows neither the crew's queue nor the loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lender(Protocol):
    """A crew that may have one thread more while one of its own waits."""

    def lend(self) -> None:
        """A thread begins to wait."""

    def take_back(self) -> None:
        """It has its answer."""


class _Here(threading.local):
    lender: Lender | None = None


_here = _Here()


def work_for(lender: Lender) -> None:
    """Have the calling thread be one of ``lender``'s, for good."""
    _here.lender = lender


def wait_for_a_loop(wait: Callable[[], T]) -> T:
    """Return ``wait()``, which returns when an event loop of another thread has done something."""
    lender = _here.lender
    if lender is None:
        return wait()
    lender.lend()
    try:
        return wait()
    finally:
        lender.take_back()
