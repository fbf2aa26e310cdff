"""Decide which of a pool's idle threads is woken. Knows no task.

Guarded by the lock of the pool, except where it says otherwise.

One thread is woken at a time, the one that parked last. It wakes the next when it has begun and
finds more to do. A loop that submits the requests of 32 connections in one turn would wake six
threads otherwise, which all want the interpreter that it has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import call
from queue import SimpleQueue


class ParkedThread:
    """Where one thread sleeps.

    :ivar wake: Ends its sleep, or the next one if it does not sleep.
    """

    __slots__ = ("_sleep", "wake")

    def __init__(self) -> None:
        tokens: SimpleQueue[None] = SimpleQueue()
        self._sleep = tokens.get
        self.wake: Callable[[], None] = partial(tokens.put, None)

    def park(self) -> None:
        """Sleep until woken. Takes no lock and needs none."""
        self._sleep()


class ParkedThreads:
    """The idle threads of one pool: the one to be woken next, and the others behind it.

    While one that was woken has not arrived, there may be none to be woken next.
    """

    def __init__(self) -> None:
        self._next: list[Callable[[], None]] = []
        self._others: list[Callable[[], None]] = []
        # Taken and woken in one step: a signal's handler that raises in between would leave a
        # thread asleep that is not among the parked.
        self._wake_next = map(call, iter(self._next.pop, None)).__next__

    def add(self, thread: ParkedThread) -> None:
        """A thread is about to park."""
        _move(self._next, self._others)
        self._next.append(thread.wake)

    def wake_one(self) -> None:
        """Wake the next, unless one that was woken is on its way."""
        if self._next:
            self._wake_next()

    def arrived(self) -> None:
        """The one that was woken has come."""
        if not self._next:
            _move(self._others, self._next)

    def wake_all(self) -> None:
        """Wake all of them. Takes no lock and needs none.

        One that another thread moves at this moment is overlooked: that thread has to call it, too.
        """
        for parked in (self._next, self._others):
            while (wake := _last_of(parked)) is not None:
                wake()


def _move(source: list[Callable[[], None]], target: list[Callable[[], None]]) -> None:
    wake = _last_of(source)
    if wake is not None:
        target.append(wake)


def _last_of(parked: list[Callable[[], None]]) -> Callable[[], None] | None:
    try:
        return parked.pop()
    except IndexError:
        return None
