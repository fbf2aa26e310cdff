"""Count how the tasks of an executor end, and tell who listens. Knows no executor."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask

from flask_concurrency.flask_app.telemetry.signals import task_failed, tell, worker_killed
from flask_concurrency.telemetry.counters import Counters
from flask_concurrency.telemetry.metrics import TASK_RUNS, TASK_WAITS, TASKS, WORKERS_LOST
from flask_concurrency.telemetry.names import Change

if TYPE_CHECKING:
    from flask_concurrency.executors.task_end import TaskEnd

RESULTS = ("done", "failed", "cancelled", "expired", "refused")


class TaskCounting:
    """What an executor calls at the end of each task.

    :param app: Whose executor it is.
    :param executor: The executor's name.
    :param counters: Gives where to count, or ``None`` while nothing is counted.
    :ivar counts: Whether anything is counted.
    """

    def __init__(
        self, app: weakref.ref[Flask], executor: str, counters: Callable[[], Counters | None]
    ) -> None:
        self._app = app
        self._executor = executor
        self._counters = counters
        self.counts = False
        self._ended = {result: (TASKS.name, executor, result) for result in RESULTS}
        self._waits = TASK_WAITS.series(executor)
        self._runs = TASK_RUNS.series(executor)

    def __call__(self, end: TaskEnd) -> None:
        """Take in how a task ended."""
        counters = self._counters()
        if counters is not None:
            counters.add(self._changes(end))
        if end.error is not None and task_failed.receivers:
            tell(
                task_failed,
                self._app(),
                executor=self._executor,
                task=end.name,
                error=end.error,
            )
        if end.killed and worker_killed.receivers:
            tell(
                worker_killed,
                self._app(),
                executor=self._executor,
                task=end.name,
                error=end.error,
            )

    def _changes(self, end: TaskEnd) -> list[Change]:
        changes: list[Change] = [(self._ended[end.result], 1, 0, end.number)]
        if end.waited is not None:
            changes += self._waits(end.waited)
        if end.ran is not None:
            changes += self._runs(end.ran)
        if end.killed:
            changes.append(WORKERS_LOST.once(self._executor))
        return changes
