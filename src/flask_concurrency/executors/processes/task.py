"""Hold what the owner knows of one task. Decides nothing; the pool's lock guards it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask_concurrency.executors.processes.call import name_of

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.batch import Batch
    from flask_concurrency.executors.processes.future import ProcessFuture
    from flask_concurrency.executors.processes.worker_record import WorkerRecord


class Task:
    """One submitted call.

    :ivar number: Goes out with the call and must come back with the reply.
    :ivar batch: The ``map`` it belongs to, if any.
    :ivar worker: The worker it was given to; ``None`` while it waits and after its reply.
    :ivar started: Its future was set running, so it can no longer be cancelled.
    :ivar deliveries: How often it was given to a worker.
    :ivar ending: Kind of its ending and what goes with it, until a thread takes it to complete the
        future by it.
    :ivar count: What it is counted as once it is finished.
    :ivar finished: Its future is done.
    :ivar hurried: Somebody wants to be called when it is finished, and will not wait for it.
    :ivar signals: One held lock for each thread that sleeps until something happens to the task.
    """

    __slots__ = (
        "batch",
        "count",
        "deliveries",
        "ending",
        "finished",
        "fn",
        "future",
        "hurried",
        "number",
        "payload",
        "signals",
        "started",
        "worker",
    )

    def __init__(
        self,
        number: int,
        fn: Callable[..., Any],
        payload: bytes,
        future: ProcessFuture[Any],
        batch: Batch | None = None,
    ) -> None:
        self.batch = batch
        self.number = number
        self.fn = fn
        self.payload = payload
        self.future = future
        self.worker: WorkerRecord | None = None
        self.started = False
        self.count = "cancelled"
        self.deliveries = 0
        self.ending: tuple[int, Any] | None = None
        self.finished = False
        self.hurried = False
        self.signals: list[threading.Lock] = []

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return name_of(self.fn)

    def signal(self) -> threading.Lock:
        """Add a lock that the calling thread can sleep on until :meth:`wake_waiters`."""
        lock = threading.Lock()
        lock.acquire()
        self.signals.append(lock)
        return lock

    def end(self, kind: int, content: Any) -> None:
        """Note how it ended; whoever takes the ending first completes the future."""
        self.ending = kind, content
        self.wake_waiters()

    def wake_waiters(self) -> None:
        """Let every thread that sleeps on this task look at it again."""
        for lock in self.signals:
            lock.release()
        self.signals.clear()
