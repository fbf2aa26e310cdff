"""Decide what happens when a background task has ended: its failure is logged.

Knows neither threads nor queue.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from flask_concurrency.executors.background import log_failure
from flask_concurrency.executors.context import Captured
from flask_concurrency.executors.threads.snapshot import Counters
from flask_concurrency.executors.threads.task import Task
from flask_concurrency.executors.waiting import TaskFuture


class BackgroundEnd:
    """What happens when a background task has ended; a callback of its future.

    :param task: The task.
    :param counters: Those of its pool.
    :param executor: What its pool is called.
    """

    def __init__(self, task: Task, counters: Counters, executor: str) -> None:
        self._name = task.name
        self._captured: Captured | None = task.captured
        self._counters = counters
        self._executor = executor

    def __call__(self, future: Future[Any]) -> None:
        """Log its failure, with the context variables of the caller that spawned it."""
        assert isinstance(future, TaskFuture)
        captured, self._captured = self._captured, None  # a future keeps its callbacks for good
        future.run_here = None
        self._counters.background.discard(future)
        if captured is not None:
            captured.report(log_failure, self._executor, self._name, future)
