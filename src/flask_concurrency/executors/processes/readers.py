"""Decide who may use a worker's channel now: a thread's round, or else the collector.

Knows no message and no process.

The rules of taking, which keep a reply from being lost or read twice:

1. A worker that owes a message (it is starting, or has a task) is either *held* by exactly one
   round, or on the desk: *armed*, that is watched by the collector thread, or *lingering*, that
   is armed within milliseconds. There is no fourth state, so a reply is read even if nobody asks
   for it. An idle worker owes nothing; the launcher tells of its death.
2. Only the thread whose round holds a worker touches its channel. It gives the worker up in a
   ``finally``: idle, armed, or dismissed.
3. No round holds a worker while a future is completed. Completing runs the application's
   callbacks, and those may wait for another task, for ever.
4. A thread that finds its task's worker held by another round sleeps on a signal of its task.
   The signal comes when the task is finished, when its reply has been read, *and* when its worker
   is put on the desk, always under the pool's lock, under which the sleeper had looked; so no
   wake-up falls in between. Should the sleeper be late, another thread has done what there was
   to do.
5. An ending is completed by the first thread that takes it: the one that read it, or one that
   waits for it. So a callback may wait for a task whose ending was read in the same round.
6. A thread sleeps on channels only while its own task's worker is among them. So what ends its
   wait is always what it sleeps on.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from flask_concurrency.executors.processes.records import Task, WorkerRecord
from flask_concurrency.executors.processes.watch import Watch

NO_REPLY: Final = 0
"""Kind of an ending that no worker has sent: the error was made in this process."""


class Round:
    """Workers that one thread holds, and tasks that it will complete once it holds none.

    :ivar held: Workers it took. One that has become idle since is another round's by now, if its
        ``holder`` says so.
    :ivar ended: Tasks whose ending it has brought.
    :ivar of_collector: It is the collector's, which reads on what it has begun.
    """

    __slots__ = ("ended", "held", "of_collector")

    def __init__(self, *, of_collector: bool = False) -> None:
        self.of_collector = of_collector
        self.held: list[WorkerRecord] = []
        self.ended: list[Task] = []

    def end(self, task: Task, kind: int, content: Any) -> None:
        """Bring the ending of a task; under the pool's lock.

        :param kind: Kind of the worker's message, or :data:`NO_REPLY`.
        :param content: Payload of the message, or the error.
        """
        task.end(kind, content)
        self.ended.append(task)

    def take(self, worker: WorkerRecord) -> None:
        """Hold a worker that nobody holds; under the pool's lock."""
        worker.holder = self
        self.held.append(worker)


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
