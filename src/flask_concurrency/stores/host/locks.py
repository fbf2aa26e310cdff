"""Say what a mapped file needs of its locks, and how long to wait for one.

The contract, not an implementation. Knows bytes to lock, not what is in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Protocol, TypeVar

from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import StoreUnavailable

Work = TypeVar("Work")
Result = TypeVar("Result")

SHORTEST_PAUSE: Final = 20e-6
LONGEST_PAUSE: Final = 1e-3


BRIEFLY: Final = 0.005
"""Seconds a caller retries where another one has just waited its whole timeout in vain."""


class FileGone(Exception):
    """The file was closed, cut off, or is not under its name any more: open it anew.

    Its text says what happened, where the file was not closed by this process.
    """


class Locks(Protocol):
    """The locks of one open file. The kernel drops them when the process dies.

    :cvar kind: A number for the file's header: all its users must lock it the same way.
    :ivar file_size: Gives the bytes the file has now. Only to be asked under a lock.
    """

    kind: ClassVar[int]
    file_size: Callable[[], int]

    def locked(
        self, shards: Sequence[int], work: Callable[[Work], Result], argument: Work
    ) -> Result:
        """Do ``work(argument)`` while no other thread or process is in the shards.

        :param shards: In ascending order, so that two callers cannot deadlock.
        :raises FileGone: The locks were closed, or the file was cut off.
        :raises StoreUnavailable: Another process kept a lock for longer than the timeout.
        """
        ...

    def threads_locked(self, shard: int, work: Callable[[Work], Result], argument: Work) -> Result:
        """Do ``work(argument)`` with only the threads of this process kept out of a shard.

        :raises FileGone: The locks were closed.
        """
        ...

    def claim_line(self, lines: int) -> int | None:
        """Take the lowest free line, for life; ``None`` if all are taken."""
        ...

    def alive(self, line: int) -> bool:
        """Whether the process that took a line lives. Not to be asked of the own line."""
        ...

    def any_alive(self, lines: int) -> bool:
        """Whether any line is taken. Not to be asked by a process that has a line."""
        ...

    def stuck(self) -> list[int]:
        """Shards for which a caller waited its whole timeout in vain, and none has since."""
        ...

    def unstick(self) -> None:
        """Let callers wait their whole timeout again: the shards were found free."""
        ...

    def close(self, *, wait: bool) -> None:
        """Close everything; a second call changes nothing.

        :param wait: Until no thread is inside any more. A fork's child has none to wait for.
        """
        ...


class BoundedRetry:
    """Retry to lock what another process holds, for a bounded time.

    Not by a call that waits in the kernel: such a call knows no timeout, and a process that was
    stopped (by a debugger, in a frozen container) would stall all others.

    :param what: What is waited for, to name it in the error.
    :param timeout: Seconds. A caller that comes within so many seconds after another one waited so
        long in vain retries only briefly, so that a queue of threads waits no longer than the
        first of them.
    :param shards: How many locks there are; each is waited for by itself.
    """

    def __init__(self, what: str, *, timeout: float, shards: int = 1) -> None:
        self._what = what
        self._timeout = timeout
        self._stuck_until = [0.0] * shards

    def wait_for(self, attempt: Callable[[], bool], shard: int = 0) -> None:
        """Try again until it works.

        :raises StoreUnavailable: It did not work in time.
        """
        now = monotonic()
        briefly = now < self._stuck_until[shard]
        until = now + (min(BRIEFLY, self._timeout) if briefly else self._timeout)
        pause = SHORTEST_PAUSE
        while not attempt():
            now = monotonic()
            if now >= until:
                # Only a whole wait proves that the holder is stopped; a short one may have met a
                # holder that is merely busy, and must not keep the others from waiting.
                if not briefly:
                    self._stuck_until[shard] = now + self._timeout
                raise StoreUnavailable(
                    f"Another process holds {self._what} for too long. It is probably stopped; "
                    "let it go on, or kill it."
                )
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._stuck_until[shard] = 0.0

    def stuck(self) -> list[int]:
        """The shards whose last whole wait was in vain."""
        return [shard for shard, until in enumerate(self._stuck_until) if until]

    def unstick(self) -> None:
        """Let callers wait their whole timeout again."""
        self._stuck_until = [0.0] * len(self._stuck_until)
