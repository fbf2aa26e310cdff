"""Decide who may use a worker's channel now: a thread's round, or else the collector.

Knows no message and no process. The rules are in ``round.py``.
"""

from __future__ import annotations

import threading
from typing import Final

from flask_concurrency.executors.processes.round import Round
from flask_concurrency.executors.processes.task import Task
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.executors.processes.worker_record import WorkerRecord

COMPANY: Final = 7
"""How many workers that nobody waits for a waiting thread takes along with its own: to read their
replies in passing spares waking the collector."""


class Desk:
    """The workers of a pool that owe a message and that no round holds.

    They are *armed*, so that the collector reads what they owe, or *lingering*: armed soon. A
    thread that submits a task usually waits for it at once, and a worker that is quick answers
    before it does; an armed one would wake the collector too, and the two threads would be in
    each other's way.

    All methods but :meth:`give_up` need the pool's lock held.
    """

    def __init__(self, lock: threading.Lock, watch: Watch) -> None:
        self._lock = lock
        self._watch = watch
        self._armed: dict[int, WorkerRecord] = {}
        self._lingering: dict[int, WorkerRecord] = {}

    def arm(self, worker: WorkerRecord) -> None:
        """Leave a worker to the collector."""
        self._armed[worker.channel.fd] = worker
        self._watch.arm(worker.channel.fd)

    def arm_lingering(self) -> None:
        """Arm those whose time has come, when the watch reminds of them."""
        for worker in self._lingering.values():
            self.arm(worker)
        self._lingering.clear()

    def hasten(self, task: Task) -> None:
        """Have a task's reply read at once, because nobody will come and wait for it."""
        task.hurried = True
        if task.worker is not None:
            worker = self._lingering.pop(task.worker.channel.fd, None)
            if worker is not None:
                self.arm(worker)

    def release(self, worker: WorkerRecord) -> None:
        """Take a worker off the desk, at the latest before its channel is closed."""
        fd = worker.channel.fd
        if fd in self._lingering:
            del self._lingering[fd]
        elif fd in self._armed:
            del self._armed[fd]
            self._watch.disarm(fd)

    def take_armed(self, fd: int, round: Round) -> WorkerRecord | None:
        """Take the armed worker behind a descriptor, if there still is one."""
        worker = self._armed.pop(fd, None)
        if worker is not None:
            self._watch.disarm(fd)
            round.take(worker)
        return worker

    def take_with_company(self, worker: WorkerRecord, round: Round) -> bool:
        """Take a worker that owes a message, and with it some that no thread waits for.

        :returns: Whether it was to be had; another round may hold it.
        """
        if worker.holder is not None:
            return False
        self._take(worker, round)
        if self._lingering or self._armed:
            others = [
                other
                for other in (*self._lingering.values(), *self._armed.values())
                # One that is waited for is its waiter's; one with callbacks is the collector's,
                # for what callbacks do, and how long, is not this thread's business.
                if other.task is None or not (other.task.signals or other.task.hurried)
            ]
            for other in others[:COMPANY]:
                self._take(other, round)
        return True

    def give_up(self, round: Round) -> None:
        """Let go of what a round still holds, and wake the threads that wait for it."""
        held = [worker for worker in round.held if worker.holder is round]
        round.held.clear()
        if not held:
            return
        with self._lock:
            for worker in held:
                worker.holder = None
                task = worker.task
                if worker.dismissed:  # by another thread, which left the channel to this one
                    worker.channel.close()
                elif round.of_collector or task is None or task.hurried:
                    self.arm(worker)
                else:
                    self._lingering[worker.channel.fd] = worker
                    self._watch.remind()
                if task is not None and task.signals:
                    task.wake_waiters()

    def _take(self, worker: WorkerRecord, round: Round) -> None:
        self.release(worker)
        round.take(worker)
