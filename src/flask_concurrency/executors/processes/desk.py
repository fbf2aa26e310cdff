"""Decide who may use a worker's channel now: a thread's round, or else the collector.

Knows no task and no message. The rules are in ``round.py``.
"""

from __future__ import annotations

import threading
from typing import Final

from flask_concurrency.executors.processes.round import Round
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.executors.processes.worker_record import WorkerRecord

COMPANY: Final = 7
"""How many workers that nobody waits for a waiting thread takes along with its own. It reads
their replies in passing, which spares waking the collector; each costs it two system calls."""


class Desk:
    """The armed workers of a pool. All methods but :meth:`give_up` need the pool's lock held."""

    def __init__(self, lock: threading.Lock, watch: Watch) -> None:
        self._lock = lock
        self._watch = watch
        self._armed: dict[int, WorkerRecord] = {}

    def arm(self, worker: WorkerRecord) -> None:
        """Leave a worker that owes a message to the collector."""
        fd = worker.channel.fileno()
        self._armed[fd] = worker
        self._watch.arm(fd)

    def disarm(self, worker: WorkerRecord) -> None:
        """Watch a worker no longer, if it is watched; before its channel is closed."""
        fd = worker.channel.fileno()
        if self._armed.get(fd) is worker:
            del self._armed[fd]
            self._watch.disarm(fd)

    def take(self, fd: int, round: Round) -> WorkerRecord | None:
        """Take the armed worker behind a descriptor, if there still is one."""
        worker = self._armed.get(fd)
        if worker is not None:
            self._take(worker, round)
        return worker

    def take_with_company(self, worker: WorkerRecord, round: Round) -> bool:
        """Take an armed worker, and with it some that no thread waits for.

        :returns: Whether it was to be had; another round may hold it.
        """
        if worker.holder is not None:
            return False
        self._take(worker, round)
        if self._armed:
            others = [
                other
                for other in self._armed.values()
                if other.task is None or not other.task.signals
            ]
            for other in others[:COMPANY]:
                self._take(other, round)
        return True

    def give_up(self, round: Round) -> None:
        """Arm what a round still holds, and wake the threads that wait for it."""
        held = [worker for worker in round.held if worker.holder is round]
        round.held.clear()
        if not held:
            return
        with self._lock:
            for worker in held:
                worker.holder = None
                self.arm(worker)
                if worker.task is not None:
                    worker.task.wake_waiters()

    def _take(self, worker: WorkerRecord, round: Round) -> None:
        self.disarm(worker)
        round.take(worker)
