"""Say how a task ended, to whom that is of interest. Counts nothing itself."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class TaskEnd(NamedTuple):
    """What became of a task, or of several that were dropped at once.

    :ivar result: ``"done"``, ``"failed"``, ``"cancelled"``, ``"expired"``, or ``"refused"`` for one
        that found the queue full.
    :ivar name: What its function is called; empty where it has not begun.
    :ivar waited: Seconds that it waited for a thread or a worker; ``None`` if it has not begun.
    :ivar ran: Seconds that it ran; ``None`` if it has not begun, or that is not known.
    :ivar error: What it failed with.
    :ivar killed: Whether its worker ended with it.
    :ivar number: How many tasks.
    """

    result: str
    name: str = ""
    waited: float | None = None
    ran: float | None = None
    error: BaseException | None = None
    killed: bool = False
    number: int = 1


class OnTaskEnd(Protocol):
    """Called on the thread that ends a task, at times within a lock of its pool; must not raise."""

    counts: bool
    """Whether to call it for each task; else for those that failed, or lost their worker."""

    def __call__(self, end: TaskEnd, /) -> object:
        """Receive how a task ended."""
        ...
