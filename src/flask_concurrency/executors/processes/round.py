"""Hold what one thread does at one go with the workers it has taken. Decides nothing.

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

from typing import Any, Final

from flask_concurrency.executors.processes.task import Task
from flask_concurrency.executors.processes.worker_record import WorkerRecord

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
