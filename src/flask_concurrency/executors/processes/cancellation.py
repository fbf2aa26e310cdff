"""Decide what happens to a task that ends before its time: at its deadline, or cancelled.

Knows no message. A task that waits is dropped. One that runs costs its worker, because nothing
else ends a call for sure: the worker is taken out of the pool at once and killed, and another one
starts in its place without waiting for that.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from math import inf

from flask_concurrency.executors.processes.failure_messages import too_late
from flask_concurrency.executors.processes.readers import NO_REPLY, Round
from flask_concurrency.executors.processes.records import Task, WorkerRecord
from flask_concurrency.executors.processes.replies import Exchange
from flask_concurrency.executors.processes.schedule import Roster
from flask_concurrency.executors.processes.supervisor import Hired, Staff
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.timer_thread import timekeeper


class Recall:
    """Takes tasks of one pool back.

    :ivar late: Tasks that have ended, for the collector to complete.
    """

    def __init__(
        self, lock: threading.Lock, roster: Roster, staff: Staff, exchange: Exchange, watch: Watch
    ) -> None:
        self._lock = lock
        self._roster = roster
        self._staff = staff
        self._exchange = exchange
        self._watch = watch
        self.late: deque[Task] = deque()

    def set_alarm(self, task: Task, deadline: Deadline) -> None:
        """Have a task end at its deadline; under the pool's lock."""
        if deadline.at < inf:
            with suppress(RuntimeError):  # no thread more: it is dropped if its turn comes too late
                task.alarm = timekeeper.call_at(deadline.at, lambda: self._expire(task))

    def take_back(self, round: Round, task: Task, reason: str) -> tuple[WorkerRecord | None, Hired]:
        """Take a task out of the queue, or from its worker; under the pool's lock.

        :param reason: Completes the sentence "killed, because ...".
        :returns: For :meth:`carry_out`, without the lock: the worker to kill, if the task has
            begun, and its successor, which ``round`` holds.
        """
        worker = task.worker
        if worker is None:
            self._roster.withdraw(task)
        elif task.started_at is None:  # the thread that is sending it will find nothing to send
            self._roster.unassign(worker)
        else:
            return worker, self._staff.take_away(round, worker, reason)
        return None, []

    def carry_out(self, round: Round, doomed: WorkerRecord | None, hired: Hired) -> None:
        """Kill a worker and start its successor."""
        try:
            if doomed is not None:
                self._staff.end(doomed)
            if hired:
                self._staff.launch(round, hired)
        finally:
            self._exchange.end(round)

    def _expire(self, task: Task) -> None:
        """End a task whose deadline has passed, on the timekeeper's thread."""
        round = Round(of_collector=True)
        with self._lock:
            if task.finished or task.ending is not None:
                return
            orders = self.take_back(round, task, "its task's deadline passed")
            round.end(task, NO_REPLY, too_late(task))
        # Completing calls the application back, which the timekeeper has no time for. There may be
        # more tasks than one: those that waited, if the worker cannot be replaced.
        self.late.extend(round.ended)
        round.ended.clear()
        self._watch.wake()
        self.carry_out(round, *orders)
