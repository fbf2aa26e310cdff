"""Say what a thread executor is doing. Holds values alone."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from threading import get_ident
from typing import Any, get_args

from flask_concurrency.executors.task_end import OnTaskEnd, TaskEnd
from flask_concurrency.executors.threads.task import Outcome, Task
from flask_concurrency.runtime.durations import Durations, DurationsSnapshot


@dataclass(frozen=True, slots=True)
class ThreadsSnapshot:
    """The state of a thread executor at one instant, and what became of its tasks so far.

    :ivar workers: Threads that exist; more than ``max_workers`` only where that many wait for an
        event loop.
    :ivar max_workers: Threads that may be at work.
    :ivar busy: Threads that run a task.
    :ivar queued: Tasks that wait for a thread.
    :ivar max_queue: Tasks that may wait; ``None`` for any number.
    :ivar waiting: Callers that wait for a slot in the queue.
    :ivar overdue: Tasks that run although their deadline has passed.
    :ivar spawned: Background tasks that have not ended.
    :ivar done: Tasks that returned.
    :ivar failed: Tasks that raised, or ran past their deadline.
    :ivar cancelled: Tasks cancelled before they started.
    :ivar expired: Tasks dropped because their deadline passed before they started.
    :ivar refused: Tasks that found the queue full.
    :ivar durations: How long the last tasks waited and ran.
    """

    workers: int
    max_workers: int
    busy: int
    queued: int
    max_queue: int | None
    waiting: int
    overdue: int
    spawned: int
    done: int
    failed: int
    cancelled: int
    expired: int
    refused: int
    durations: DurationsSnapshot


class Counters:
    """What runs, and how what has run did end.

    :ivar counts: Tasks by how they ended.
    :ivar refused: Tasks that found the queue full.
    :ivar running: Tasks that run, and the identifiers of their threads.
    :ivar background: Futures of background tasks that have not ended.
    :ivar durations: How long tasks waited and ran.
    """

    def __init__(self, on_task_end: OnTaskEnd | None = None) -> None:
        self._on_task_end = on_task_end
        self.counts: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        self.refused = 0
        self.running: dict[Task, int] = {}
        self.background: set[Future[Any]] = set()
        self.durations = Durations()

    def drop(self, outcome: Outcome, number: int) -> None:
        """Count tasks that never began; under the lock of the pool."""
        self.counts[outcome] += number
        if number and self._on_task_end is not None:
            self._on_task_end(TaskEnd(outcome, number=number))

    def refuse(self) -> None:
        """Count a task that found the queue full."""
        self.refused += 1
        if self._on_task_end is not None:
            self._on_task_end(TaskEnd("refused"))

    def tell(self, task: Task, outcome: Outcome) -> None:
        """Tell how a task ended whose turn had come; without the lock."""
        error, task.error = task.error, None
        told = self._on_task_end
        if told is None or not (told.counts or error is not None):
            return
        waited = ran = None
        if outcome == "done" or outcome == "failed":
            waited, ran = task.started_at - task.queued_at, task.ended_at - task.started_at
        told(TaskEnd(outcome, task.name, waited, ran, error))

    def overdue(self, now: float) -> int:
        """How many tasks run although their deadline has passed."""
        running = self.running.copy()
        return sum(task.deadline is not None and now >= task.deadline.at for task in running)

    def running_elsewhere(self) -> list[str]:
        """Names of the tasks that run in other threads than the calling one."""
        here = get_ident()
        return [task.name for task, ident in self.running.copy().items() if ident != here]
