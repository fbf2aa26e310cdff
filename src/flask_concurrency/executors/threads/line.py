"""Decide which caller gets the next place in a full queue: the one that has waited longest.

Knows neither the queue nor how its owner waits. Guarded by the lock of the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from flask_concurrency.executors.threads.task import Task

Place = Future[None]
"""Done when the task is queued, failed when it never will be. Its caller waits for it."""


class Line:
    """Tasks whose callers wait until they are let into the queue.

    :ivar standing: These tasks and their places, the first one first.
    """

    def __init__(self) -> None:
        self.standing: dict[Task, Place] = {}

    def join(self, task: Task) -> Place:
        """Stand at the end."""
        place = self.standing[task] = Place()
        return place

    def leave(self, task: Task) -> Place | None:
        """Take ``task`` out, and give its place if it stood here."""
        return self.standing.pop(task, None)

    def next(self, wanted: Callable[[Task], bool] = lambda task: True) -> Task | None:
        """Let the first one in that is wanted, and tell its caller."""
        for task in [task for task in self.standing if wanted(task)]:
            # A caller on an event loop may have cancelled, and be about to leave.
            place = self.standing.pop(task)
            if place.set_running_or_notify_cancel():
                place.set_result(None)
                return task
        return None

    def clear(self) -> list[tuple[Task, Place]]:
        """Take all out."""
        standing = list(self.standing.items())
        self.standing.clear()
        return standing


def turn_away(place: Place, error: BaseException) -> None:
    """Tell the caller that its task is not let in."""
    if place.set_running_or_notify_cancel():
        place.set_exception(error)
