"""Decide what a thread does that waits for a result: it reads the worker's reply itself.

Knows no worker and no socket; the pool does the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from flask_concurrency.executors.waiting import wait_on_loop

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.arena import Arena
    from flask_concurrency.executors.processes.pool import Pool
    from flask_concurrency.executors.processes.task import Task

T = TypeVar("T")


class ProcessFuture(Future[T]):
    """A ``Future`` in everything, except that waiting for it does the work of a reader thread.

    And it can be cancelled until it is done: a task that runs loses its worker. For that it stays
    pending, to the standard library's eyes, until it is done; only :meth:`running` tells.
    """

    _pool: Pool
    _task: Task | None = None

    def attach(self, pool: Pool, task: Task) -> None:
        """Tell the future whose it is, before anyone else sees it."""
        self._pool = pool
        self._task = task
        # The first of the callbacks: waiting threads must not wait for the application's, and
        # neither must the end of a worker whose task is cancelled.
        super().add_done_callback(pool.finish)

    @property
    def arena(self) -> Arena:
        """Where large buffers of its result go."""
        return self._pool.arena

    def detach(self) -> Task | None:
        """Forget the task, which holds the future: the result shall not live in a cycle."""
        task, self._task = self._task, None
        return task

    def running(self) -> bool:
        """Whether a worker has the call now."""
        task = self._task
        return task is not None and task.started_at is not None and not self.done()

    def cancel_if_waiting(self) -> bool:
        """Cancel the call unless it runs, and say whether it is cancelled."""
        task = self._task
        if task is not None and not self._pool.withdraw(task):
            return False
        return self.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Return what the task returned, or raise what it raised, waiting for it."""
        self._wait(timeout)
        try:
            return super().result(timeout=0)
        finally:
            self = None  # type: ignore[assignment] # no cycle of exception, traceback and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or ``None``, waiting for it."""
        self._wait(timeout)
        return super().exception(timeout=0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have ``fn`` called with the future once it is done, on the thread that completes it."""
        super().add_done_callback(fn)
        task = self._task
        if task is not None:
            self._pool.hasten(task)

    def _wait(self, timeout: float | None) -> None:
        task = self._task
        # Done, it may still have its task: in a callback, which must not wait for its own end.
        if task is not None and not self.done() and not wait_on_loop(self, timeout):
            self._pool.drive(task, timeout)
