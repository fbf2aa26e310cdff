"""Decide when the calls of a ``map`` are handed in and its results handed out.

Knows neither threads nor context variables.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

from flask_concurrency.executors.threads.pool import ThreadPool
from flask_concurrency.executors.threads.task import Batch, Task
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.timer_thread import Alarm
from flask_concurrency.vocabulary.clock import Clock

Call = tuple[Task, Future[Any]]


class Mapping:
    """A ``map`` under way.

    :param calls: Its tasks and their futures. Made at once, or, with ``buffersize``, as results
        are consumed; always in the consuming thread, whose context their arguments may need.
    :param buffersize: How many calls may be ahead of the consumer, or ``None`` for all.
    :param deadline: Until when the results are wanted, or ``None``.
    :raises QueueFull: Not one call fits in the queue.
    :raises ExecutorShutdown: The pool takes no more work.
    :raises DeadlineExceeded: There was no free slot in the queue before ``deadline``.
    """

    def __init__(
        self,
        pool: ThreadPool,
        calls: Iterator[Call],
        buffersize: int | None,
        deadline: Deadline | None,
    ) -> None:
        self._pool = pool
        self._batch = Batch()
        self._calls: deque[Call] = deque()
        # One alarm for all calls, and it holds nothing: an unconsumed ``map`` can be collected.
        self._alarm: Alarm | None = None
        self._deadline = deadline
        if deadline is not None:
            expire = weakref.WeakMethod(self._expire)
            self._alarm = pool.call_at(deadline, lambda: _call(expire))
        self._add(islice(calls, buffersize))
        # An exhausted source is not kept: it leads to the caller's context variables.
        self._to_come = calls if buffersize is not None else iter(())

    def results(self, end_at: float | None, clock: Clock) -> Iterator[Any]:
        """Yield the results in order.

        :param end_at: Instant by which the last one must be there; ``None`` to wait for ever.
        :raises TimeoutError: It is not; what has not started is cancelled.
        """
        calls = self._calls
        try:
            while calls:
                self._add(islice(self._to_come, 1))
                self._pool.run_here_if_queued(calls[0][0])
                yield self._take_result(None if end_at is None else end_at - clock())
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            self._pool.abandon(self._batch, [task for task, _ in calls])
            # An error's traceback leads here: it shall not lead on to the future that holds it.
            calls.clear()

    def _take_result(self, timeout: float | None) -> Any:
        result = self._calls[0][1].result(timeout)
        self._calls.popleft()  # the consumer alone decides how long a result lives
        return result

    def _add(self, source: Iterator[Call]) -> None:
        calls = list(source)
        self._calls.extend(calls)
        if calls:
            self._pool.start(self._batch, [task for task, _ in calls])
            if self._deadline is not None and self._pool.is_late(self._deadline):
                self._expire()  # the alarm may have come before they were in the queue

    def _expire(self) -> None:
        self._pool.expire(self._calls.copy(), self._batch)


def _call(method: weakref.WeakMethod[Any]) -> None:
    alive = method()
    if alive is not None:
        alive()
