"""Decide who hears of work that nobody waits for. Knows neither threads nor queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask_concurrency.executors.waiting import TaskFuture

T = TypeVar("T")


class BackgroundFuture(TaskFuture[T]):
    """The future of a background task.

    Whoever does wait for it in a thread of the same executor runs it there, unless a thread has
    taken it up: there may never be a free one.
    """

    run_here: Callable[[], object] | None = None

    def result(self, timeout: float | None = None) -> T:
        """What the task returned; raises what it raised."""
        self._help()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, ``None`` if it returned."""
        self._help()
        return super().exception(timeout)

    def _help(self) -> None:
        run_here, self.run_here = self.run_here, None
        if run_here is not None:
            run_here()
