"""Decide which request waits, in which order, and which is woken. Knows no store and no Flask.

A waiter is woken to ask for a permit itself; it is never handed one. So no permit is lost between
a release and a waiter that gives up at the same instant. The wake-up must not be lost either:
a waiter that leaves passes it on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable

from flask_concurrency.vocabulary.errors import LoopBlocked
from flask_concurrency.vocabulary.limits import Order

FREE_THREADS = 2
"""Threads of a server that stay free to refuse, and to answer health checks, while others wait."""


class Waiter:
    """One request in a room.

    :ivar room: Which room it waits in.
    :ivar holds_thread: Whether a thread of the server waits with it.
    """

    __slots__ = ("_woken", "holds_thread", "order", "room")

    def __init__(self, room: Hashable, order: Order) -> None:
        from flask_concurrency.runtime.greenlet_bridge import holds_thread
        from flask_concurrency.runtime.wakeup import WakeUp

        self.room = room
        self.order = order
        self.holds_thread = holds_thread()
        self._woken = WakeUp()

    def wait(self, seconds: float) -> None:
        """Wait to be woken, ``seconds`` at most."""
        self._woken.wait(seconds)

    def wake(self) -> None:
        """Let it ask again."""
        self._woken.set()


class WaitingRooms:
    """All waiting rooms of one process; a room exists while a request waits in it.

    :param server_threads: Threads the server answers requests with; two of them stay free of
        requests that wait, and of those that they wait for. ``None`` if it is not known: then any
        may wait.
    :param holds_requests_up: Whether to wait where it is called would stop an event loop.
    """

    def __init__(
        self,
        *,
        server_threads: int | None = None,
        holds_requests_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._holds_requests_up = holds_requests_up
        self._most: int | None = None
        if server_threads is not None:
            self.served_by(server_threads)
        self._rooms: dict[Hashable, deque[Waiter]] = {}
        self._waiting = 0
        self._waiting_threads = 0
        self._admitted_threads = 0
        # Re-entrant, because the garbage collector may end an abandoned request, and so wake a
        # room, in the middle of any line that holds the lock.
        self._lock = threading.RLock()

    def served_by(self, threads: int) -> None:
        """Learn how many threads answer requests, of which some must stay free."""
        self._most = max(0, threads - FREE_THREADS)

    def enter(self, room: Hashable, order: Order, *, most: int | None = None) -> Waiter | None:
        """Start to wait; ``None`` if the server has no thread left that may wait.

        :param most: Requests that may wait in the room; ``None`` for any number.

        :raises LoopBlocked: Every request on an event loop would wait, too.
        """
        if self._holds_requests_up():
            raise LoopBlocked(
                "A task would wait for a permit on an event loop, which stands still meanwhile, "
                "and every request on it. Write 'async with concurrency.limit(...)' there."
            )
        with self._lock:
            if most is not None and len(self._rooms.get(room, ())) >= most:
                return None
            waiter = Waiter(room, order)
            if waiter.holds_thread:
                taken = self._waiting_threads + self._admitted_threads
                if self._most is not None and taken >= self._most:
                    return None
                self._waiting_threads += 1
            self._waiting += 1
            self._rooms.setdefault(room, deque()).append(waiter)
            return waiter

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting, admitted or not, and wake the next waiter."""
        with self._lock:
            waiters = self._rooms[waiter.room]
            waiters.remove(waiter)
            self._waiting -= 1
            self._waiting_threads -= waiter.holds_thread
            if waiters:
                _next(waiters).wake()
            else:
                del self._rooms[waiter.room]

    def admit(self) -> bool:
        """Note a request that holds what others wait for; whether it holds a thread with it."""
        if self._most is None:
            return False
        from flask_concurrency.runtime.greenlet_bridge import holds_thread

        held = holds_thread()
        if held:
            with self._lock:
                self._admitted_threads += 1
        return held

    def end(self) -> None:
        """Note that such a request, which held a thread, has ended."""
        with self._lock:
            self._admitted_threads -= 1

    def wake(self, room: Hashable) -> None:
        """A permit the room waits for was released: let the next waiter ask."""
        if room not in self._rooms:  # the usual case, without the lock
            return
        with self._lock:
            if waiters := self._rooms.get(room):
                _next(waiters).wake()

    def is_next(self, waiter: Waiter) -> bool:
        """Whether it is this waiter's turn to ask."""
        with self._lock:
            return _next(self._rooms[waiter.room]) is waiter

    def occupied(self, room: Hashable) -> bool:
        """Whether a request waits there, which a new request must not overtake."""
        return room in self._rooms

    def __len__(self) -> int:
        """Requests waiting in this process."""
        return self._waiting


def _next(waiters: deque[Waiter]) -> Waiter:
    newest = waiters[-1]
    return newest if newest.order == "lifo" else waiters[0]
