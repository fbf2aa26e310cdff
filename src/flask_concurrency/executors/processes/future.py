"""Decide what a thread does that waits for a result: it reads the worker's reply itself.

Knows no worker and no socket; the pool does the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.pool import Pool
    from flask_concurrency.executors.processes.task import Task

T = TypeVar("T")


class ProcessFuture(Future[T]):
    """A ``Future`` in everything, except that waiting for it does the work of a reader thread."""

    _pool: Pool
    _task: Task

    def attach(self, pool: Pool, task: Task) -> None:
        """Tell the future whose it is, before anyone else sees it."""
        self._pool = pool
        self._task = task

    def result(self, timeout: float | None = None) -> T:
        """Return what the task returned, or raise what it raised, waiting for it."""
        # The task is marked after the future is done, so one that is not marked may be, too.
        if not self._task.finished:
            self._pool.drive(self._task, timeout)
        try:
            return super().result(timeout=0)
        finally:
            self = None  # type: ignore[assignment] # no cycle of exception, traceback and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or ``None``, waiting for it."""
        if not self._task.finished:
            self._pool.drive(self._task, timeout)
        return super().exception(timeout=0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have ``fn`` called with the future once it is done, on the thread that completes it."""
        super().add_done_callback(fn)
        if not self._task.finished:
            self._pool.hasten(self._task)

    def cancel(self) -> bool:
        """Take the task back if no worker has it yet."""
        cancelled = super().cancel()
        if cancelled:
            self._pool.withdraw(self._task)
        return cancelled
