"""Run one call and settle its future.

Knows neither the queue the call waited in nor the thread it runs on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal

from flask_concurrency.executors.context import Captured
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import DeadlineExceeded

Outcome = Literal["done", "failed", "cancelled", "expired"]


class Task:
    """A call that waits for its turn, and the future that tells how it ended.

    :ivar batch: The ``map`` whose next task takes this one's place when it ends, or ``None``.
    """

    __slots__ = ("_call", "_future", "batch")

    def __init__(
        self,
        future: Future[Any],
        captured: Captured,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._future = future
        self._call = (captured, fn, args, kwargs)
        self.batch: Batch | None = None

    def run(self, clock: Clock) -> Outcome:
        """Make the call, unless it was cancelled or came too late, and settle the future."""
        captured, fn, args, kwargs = self._call
        future = self._future
        # Whoever still holds this task (a future's callback, a half-consumed ``map``) holds neither
        # the request and its uploads any longer, nor a reference cycle with the future.
        del self._call, self._future
        if not future.set_running_or_notify_cancel():
            return "cancelled"
        expires_at = captured.expires_at
        if expires_at is not None and (late := clock() - expires_at) >= 0:
            future.set_exception(
                DeadlineExceeded(
                    f"A task was dropped before it started: its deadline passed {late:.3f} s "
                    "before a thread was free. Give it more time, or raise 'max_workers'."
                )
            )
            return "expired"
        try:
            result = captured(fn, args, kwargs)
        except BaseException as error:
            future.set_exception(error)
            return "failed"
        else:
            future.set_result(result)
            return "done"
        finally:
            # A traceback keeps this frame, be it this call's or that of one nested in it. It must
            # keep neither the request nor, in a cycle, the future that holds the error.
            del self, future, captured, fn, args, kwargs

    def cancel(self) -> None:
        """Cancel a call that nobody will run, and wake those who wait for it."""
        future = self._future
        del self._call, self._future
        future.cancel()
        # Without this ``concurrent.futures.wait`` goes on waiting for the cancelled future.
        future.set_running_or_notify_cancel()


class Batch:
    """The tasks of one ``map``; guarded by the lock of its crew.

    :ivar waiting: Tasks that are not queued yet, in the order of their results.
    :ivar queued: Tasks that are queued or running, each of which passes its place on.
    :ivar admitted: Whether one of them was ever queued.
    """

    __slots__ = ("admitted", "queued", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Task] = deque()
        self.queued = 0
        self.admitted = False

    def add(self, task: Task) -> None:
        """Append ``task``."""
        task.batch = self
        self.waiting.append(task)

    def take(self, task: Task) -> bool:
        """Take ``task`` out if it is the next in line. It has no place to pass on."""
        if not self.waiting or self.waiting[0] is not task:
            return False
        self.waiting.popleft().batch = None
        return True

    def clear(self) -> list[Task]:
        """Take all tasks out that are not queued yet."""
        tasks = list(self.waiting)
        self.waiting.clear()
        return tasks
