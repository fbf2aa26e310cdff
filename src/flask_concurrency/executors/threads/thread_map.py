"""Decide how the calls of a ``map`` get to threads, and how they end at their deadline.

Knows neither threads nor context variables.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from flask_concurrency.executors.context import Captured
from flask_concurrency.executors.ordered_map import OrderedMap
from flask_concurrency.executors.threads.pool import ThreadPool
from flask_concurrency.executors.threads.task import Batch, Task
from flask_concurrency.executors.waiting import TaskFuture
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.timer_thread import Alarm

Call = tuple[Task, Future[Any]]


class ThreadMap(OrderedMap[Call]):
    """The calls of a ``map`` on threads.

    :param calls: Its tasks and their futures, made as they are submitted.
    :param deadline: Until when the results are wanted, or ``None``.
    :raises QueueFull: Not one call fits in the queue.
    :raises ExecutorShutdown: The pool takes no more work.
    :raises DeadlineExceeded: There was no free slot in the queue before the caller's deadline.
    """

    def __init__(
        self,
        pool: ThreadPool,
        calls: Iterator[Call],
        buffersize: int | None,
        deadline: Deadline | None,
    ) -> None:
        super().__init__(calls, buffersize)
        self._pool = pool
        self._batch = Batch()
        # One alarm for all calls, and it holds nothing: an unconsumed ``map`` can be collected.
        self._alarm: Alarm | None = None
        self._deadline = deadline
        if deadline is not None:
            expire = weakref.WeakMethod(self._expire)
            self._alarm = pool.call_at(deadline.at, lambda: _call(expire))

    def submit(self, items: Sequence[Call]) -> None:
        """Queue calls, and append them."""
        self.calls.extend(items)
        self._pool.start(self._batch, [task for task, _ in items])
        if self._deadline is not None and self._pool.is_late(self._deadline):
            self._expire()  # the alarm may have come before they were in the queue

    def wait(self, timeout: float | None) -> Any:
        """Return the result of the first of the calls; run it, if no other thread is to."""
        self._pool.run_here_if_queued(self.calls[0][0])
        return self.calls[0][1].result(timeout)

    def drop(self) -> None:
        """Cancel those that have not started."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self.calls:
            self._pool.abandon(self._batch, [task for task, _ in self.calls])

    def _expire(self) -> None:
        self._pool.expire(self.calls.copy(), self._batch)


def calls_of(
    captured: Captured, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...]
) -> Iterator[Call]:
    """Make a call for each item; all have the same caller."""
    for args in zip(*iterables, strict=False):
        future: Future[Any] = TaskFuture()
        yield Task(future, captured, fn, args, {}), future


def _call(method: weakref.WeakMethod[Any]) -> None:
    alive = method()
    if alive is not None:
        alive()
