"""Decide who may use a worker's channel now: the turn of a thread, or else the background thread.

Knows no message and no process.

What a worker's channel goes through::

    idle ── task given ──> held by a turn ── released ──> deferred (2 ms at most) ──> registered
     ^                        │       ^                       │                           │
     └────── reply read ──────┘       └──── claimed by a thread that waits ───────────────┘

The rules, which keep a reply from being lost or read twice:

1. A worker that owes a message (it is starting, or has a task) is either *held* by exactly one
   turn, or *registered*, that is watched by the background thread, or *deferred*, that is
   registered within milliseconds. There is no fourth state, so a reply is read even if no thread
   waits for it. An idle worker owes nothing; the launcher reports its death.
2. Only the thread whose turn holds a worker touches its channel. At the end of its turn it releases
   the worker: idle, deferred or registered, or gone.
3. No turn holds a worker while a future is completed: results are unpickled by the application's
   code, which may take long.
4. A thread that finds its task's worker held by another turn sleeps on a signal of its task. The
   signal comes when the task is finished *and* when its worker is released, always under the pool's
   lock, under which the sleeper had looked; so no wake-up falls in between. Should the sleeper be
   late, another thread has done what there was to do.
5. The thread that read a task's ending settles it (``Task.settler``), and calls no application's
   callback: those are called on the background thread. So whatever a callback waits for, the other
   threads go on, as long as they need no new worker: what that one first says is read there. An
   ending without a reply, such as a deadline's, is settled by each thread that waits for it, too,
   and the first one counts: the background thread may be late.
6. A thread sleeps on channels only while its own task's worker is among them. So what ends its
   wait is always what it sleeps on.
7. A turn that an exception of a signal handler cuts short is handed to the background thread, which
   such handlers never interrupt (``Schedule.mend``). Facts and channels say how far it had come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flask_concurrency.executors.processes.records import Task, Worker
from flask_concurrency.executors.processes.watch import Watch

SHARED_READS: Final = 7
"""How many other workers' replies a waiting thread reads too, so that the background thread is not
woken for them."""


class Turn:
    """Workers that one thread holds, and tasks that it will settle once it holds none.

    :ivar held: Workers it took. One that has become idle since may be another turn's by now, which
        its ``reader`` says.
    :ivar ended: Tasks to settle.
    :ivar of_background: It is the background thread's, which reads on what it has begun.
    """

    held: tuple[Worker, ...] = ()
    ended: tuple[Task, ...] = ()

    # No ``__init__``: three turns are made for each task.
    of_background = False


class BackgroundTurn(Turn):
    """A turn of the background thread, or of one that has no time to read on."""

    of_background = True


class Readers:
    """The workers of a pool that owe a message and that no turn holds.

    They are *registered* with the watch of the background thread, or *deferred*: registered soon. A
    thread that submits a task usually waits for it at once, and a worker that is quick answers
    before it does; a registered one would wake the background thread too, and the two threads
    would compete.

    All methods need the pool's lock held. They may be repeated, and are, after an interruption.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._registered: dict[int, Worker] = {}
        self._deferred: dict[int, Worker] = {}

    def register(self, worker: Worker) -> None:
        """Leave a worker to the background thread."""
        fd = worker.channel.fd
        self._registered[fd] = worker
        self._deferred.pop(fd, None)
        self._watch.register(fd)

    def register_deferred(self) -> None:
        """Register those whose time has come, when the watch says so."""
        for worker in tuple(self._deferred.values()):
            self.register(worker)

    def read_soon(self, task: Task) -> None:
        """Have a task's reply read at once: a callback waits for it, and perhaps no thread."""
        task.read_soon = True
        worker = task.worker
        if worker is not None and worker.launched and worker.channel.fd in self._deferred:
            self.register(worker)

    def remove(self, worker: Worker) -> None:
        """Unregister a worker, at the latest before its channel is closed."""
        fd = worker.channel.fd
        if self._deferred.get(fd) is worker:
            del self._deferred[fd]
        elif self._registered.get(fd) is worker:
            self._watch.unregister(fd)
            del self._registered[fd]

    def claim_readable(self, fd: int, turn: Turn) -> Worker | None:
        """Claim the registered worker behind a descriptor, if there still is one."""
        worker = self._registered.get(fd)
        if worker is not None:
            self._claim(worker, turn)
        return worker

    def claim_with_others(self, worker: Worker, turn: Turn) -> bool:
        """Claim a worker that owes a message, and with it some that no thread waits for.

        :returns: Whether it was to be had; another turn may hold it.
        """
        if worker.reader is not None:
            return False
        worker.reader = turn
        turn.held = (worker,)
        fd = worker.channel.fd
        if self._deferred.get(fd) is worker:
            del self._deferred[fd]
        else:
            self.remove(worker)
        if self._deferred or self._registered:
            others = [
                other
                for other in (*self._deferred.values(), *self._registered.values())
                # A worker with a waiting thread is read by that thread; one with callbacks by the
                # background thread, which will have to call them.
                if other.task is None or not (other.task.signals or other.task.read_soon)
            ]
            for other in others[:SHARED_READS]:
                self._claim(other, turn)
        return True

    def release(self, turn: Turn) -> list[Worker]:
        """End a turn's hold of its workers, and wake the threads that wait for them.

        :returns: Those that are gone, whose channels are to be closed.
        """
        gone = []
        defers = False
        for worker in turn.held:
            if worker.reader is not turn:
                continue
            task = worker.task
            if worker.gone:
                gone.append(worker)
            elif turn.of_background or task is None or task.read_soon:
                self.register(worker)
            else:
                self._deferred[worker.channel.fd] = worker
                defers = True
            worker.reader = None
            if task is not None and task.signals:
                task.wake_waiters()
        turn.held = ()
        if defers:
            self._watch.remind()
        return gone

    def mend(self, workers: Iterable[Worker]) -> None:
        """Register what owes a message and is held by no turn, after an interruption."""
        for worker in workers:
            if worker.owes and worker.reader is None:
                self.register(worker)
        self._watch.remind(again=True)

    def _claim(self, worker: Worker, turn: Turn) -> None:
        worker.reader = turn
        turn.held = (*turn.held, worker)
        self.remove(worker)
