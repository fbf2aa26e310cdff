"""Decide who is next to get a slot in a full queue, and how long a caller waits for it.

Knows neither the queue nor what a task is. The line itself is guarded by its executor's lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from flask_concurrency.executors.signal_safe_future import SignalSafeFuture

T = TypeVar("T")


class Slot(SignalSafeFuture[None]):
    """Done when the task is queued, failed when it never will be. Its caller waits for it."""


class WaitingLine(Generic[T]):
    """Tasks whose callers wait until they are let into the queue, the first one first.

    :ivar standing: These tasks and their slots.
    """

    def __init__(self) -> None:
        self.standing: dict[T, Slot] = {}

    def join(self, task: T) -> Slot:
        """Stand at the end."""
        slot = self.standing[task] = Slot()
        return slot

    def leave(self, task: T) -> Slot | None:
        """Take ``task`` out, and return its slot if it stood here."""
        return self.standing.pop(task, None)

    def next(self, wanted: Callable[[T], bool] = lambda task: True) -> T | None:
        """Let the first one in that is wanted, and notify its caller."""
        for task in [task for task in self.standing if wanted(task)]:
            # A caller on an event loop may have cancelled, and be about to leave.
            slot = self.standing.pop(task)
            if slot.set_running_or_notify_cancel():
                slot.set_result(None)
                return task
        return None

    def clear(self) -> list[tuple[T, Slot]]:
        """Take all out."""
        standing = list(self.standing.items())
        self.standing.clear()
        return standing


def turn_away(slot: Slot, error: BaseException) -> None:
    """Refuse a caller's task with an error."""
    if slot.set_running_or_notify_cancel():
        slot.set_exception(error)


def is_on_loop() -> bool:
    """Whether the calling thread runs an event loop, which must not wait for a slot."""
    return asyncio._get_running_loop() is not None
