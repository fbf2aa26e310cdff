"""Decide who works on what: tasks that wait, workers that are free, how many are needed.

Knows no lock, no socket and no process; the pool calls it under its lock.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Any

from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.records import Batch, ProcessFuture, Task, WorkerRecord
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot
from flask_concurrency.executors.processes.wire import Channel
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.durations import Durations
from flask_concurrency.vocabulary.errors import QueueFull

MAX_DELIVERIES = 3
"""A task whose worker died before reading it is given to another one, but not for ever."""


class Roster:
    """Tasks and workers of one pool. Not safe for threads by itself."""

    def __init__(self, options: ProcessOptions) -> None:
        self.options = options
        self.closing = False
        self.workers: dict[int, WorkerRecord] = {}
        self.unfinished: dict[int, Task] = {}
        self.queue: OrderedDict[int, Task] = OrderedDict()
        self.idle: list[WorkerRecord] = []
        self.busy = 0
        self._batches: dict[Batch, None] = {}
        self.counts = dict.fromkeys(
            ("done", "failed", "cancelled", "expired", "refused", "killed"), 0
        )
        self.durations = Durations()
        self._task_numbers = itertools.count(1)
        self._worker_numbers = itertools.count(1)

    def has_room(self) -> bool:
        """Whether the queue has room for one more task.

        A task counts as waiting only beyond one for each worker: those go to workers at once, or
        as soon as these have started.
        """
        bound = self.options.max_queue
        return bound is None or len(self.queue) + self.busy < self.options.max_workers + bound

    def admit(
        self,
        fn: Callable[..., Any],
        payload: bytes,
        future: ProcessFuture[Any],
        batch: Batch | None = None,
        *,
        deadline: Deadline | None = None,
        now: float,
    ) -> Task:
        """Take a new task; :meth:`match` gives it to a worker.

        :raises QueueFull: There is no room, not even for one task of its batch.
        """
        room = self.has_room()
        if not room and (batch is None or not batch.placed):
            raise QueueFull(self.options.name, max_queue=self.options.max_queue or 0)
        number = next(self._task_numbers)
        task = Task(number, fn, payload, future, batch, deadline, submitted_at=now)
        self.unfinished[task.number] = task
        if batch is not None and not (room and batch.placed < self.options.max_workers):
            batch.waiting[task.number] = task
            self._batches[batch] = None
        else:
            self._place(task)
        return task

    def free(self, worker: WorkerRecord, now: float) -> bool:
        """End a worker's task and give it the one that waits longest.

        :param now: Monotonic instant in seconds.
        :returns: Whether it got one; otherwise it is idle now, and no thread's any more.
        """
        self.unassign(worker)
        if self.queue:
            self._assign(worker, self._next())
            return True
        worker.holder = None
        worker.idle_since = now
        self.idle.append(worker)
        return False

    def unassign(self, worker: WorkerRecord) -> Task | None:
        """Take its task from a worker."""
        task = worker.task
        if task is not None:
            task.worker = worker.task = None
            self.busy -= 1
            if task.batch is not None:
                self._displace(task)
        return task

    def give_back(self, task: Task) -> None:
        """Let a task that no worker has read wait again, before all others."""
        task.started_at = None
        self._place(task)
        self.queue.move_to_end(task.number, last=False)

    def withdraw(self, task: Task) -> bool:
        """Take a task back that waits, and say whether it did."""
        if self.queue.pop(task.number, None) is not None:
            self._displace(task)
            return True
        return task.batch is not None and task.batch.waiting.pop(task.number, None) is not None

    def waiting(self) -> list[Task]:
        """Return all tasks that no worker has."""
        behind = [task for batch in self._batches for task in batch.waiting.values()]
        return [*self.queue.values(), *behind]

    def match(self) -> list[WorkerRecord]:
        """Give waiting tasks to idle workers, those that worked last, and return these."""
        matched = []
        while self.queue and self.idle:
            worker = self.idle.pop()
            self._assign(worker, self._next())
            matched.append(worker)
        return matched

    def hire(self, channel: Channel) -> WorkerRecord:
        """Note a worker that is about to be started."""
        worker = WorkerRecord(next(self._worker_numbers), channel)
        self.workers[worker.number] = worker
        return worker

    def dismiss(self, worker: WorkerRecord) -> None:
        """Forget a worker; its task, if any, must have been taken from it."""
        worker.dismissed = True
        del self.workers[worker.number]
        if worker in self.idle:
            self.idle.remove(worker)

    def vacancies(self) -> int:
        """How many workers to start now: one for each task that none is starting for."""
        room = self.options.max_workers - len(self.workers)
        if room <= 0:
            return 0
        starting = sum(not worker.ready for worker in self.workers.values())
        return max(0, min(len(self.queue) - starting, room))

    def overdue_idlers(self, now: float) -> tuple[list[WorkerRecord], float]:
        """Find the workers that were idle for ``idle_timeout``, and when to look again.

        Those that worked last get the next task, so it is the first of the list that are spare.
        """
        timeout = self.options.idle_timeout
        if timeout is None:
            return [], inf
        overdue = [worker for worker in self.idle if worker.idle_since + timeout <= now]
        rest = (worker.idle_since for worker in self.idle if worker not in overdue)
        return overdue, min(rest, default=now) + timeout

    def is_worn(self, worker: WorkerRecord) -> bool:
        """Whether a worker has done all the tasks it may do."""
        limit = self.options.max_tasks_per_worker
        return limit is not None and worker.replies >= limit

    def snapshot(self, waiting: int = 0) -> ProcessSnapshot:
        """Copy the counts.

        :param waiting: Callers that wait for a place.
        """
        return ProcessSnapshot(
            workers=len(self.workers),
            max_workers=self.options.max_workers,
            busy=self.busy,
            queued=len(self.waiting()),
            max_queue=self.options.max_queue,
            waiting=waiting,
            durations=self.durations.summary(),
            **self.counts,
        )

    def _place(self, task: Task) -> None:
        self.queue[task.number] = task
        if task.batch is not None:
            task.batch.placed += 1

    def _displace(self, task: Task) -> None:
        """Let the next of a task's batch have its place."""
        batch = task.batch
        if batch is None:
            return
        batch.placed -= 1
        while batch.waiting and batch.placed < self.options.max_workers:
            if batch.placed and not self.has_room():
                return
            _, following = batch.waiting.popitem(last=False)
            self._place(following)
        if not batch.waiting:
            self._batches.pop(batch, None)

    def _next(self) -> Task:
        _, task = self.queue.popitem(last=False)
        return task

    def _assign(self, worker: WorkerRecord, task: Task) -> None:
        worker.task = task
        task.worker = worker
        task.deliveries += 1
        self.busy += 1
