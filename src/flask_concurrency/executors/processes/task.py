"""Hold what the owner knows of one task. Decides nothing; the pool's lock guards it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from flask_concurrency.executors.processes.call import name_of
from flask_concurrency.runtime.deadline import Deadline

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.batch import Batch
    from flask_concurrency.executors.processes.future import ProcessFuture
    from flask_concurrency.executors.processes.worker_record import WorkerRecord
    from flask_concurrency.runtime.timer_thread import Alarm

Count = Literal["done", "failed", "cancelled", "expired"]


class Task:
    """One submitted call.

    :ivar number: Goes out with the call and must come back with the reply.
    :ivar batch: The ``map`` it belongs to, if any.
    :ivar worker: The worker it was given to; ``None`` while it waits and after its reply.
    :ivar deadline: Until when its result is wanted, if that was said.
    :ivar alarm: What ends it at its deadline, until it is finished.
    :ivar submitted_at: Monotonic instant in seconds.
    :ivar started_at: When it was sent to its worker; ``None`` before.
    :ivar deliveries: How often it was given to a worker.
    :ivar ending: Kind of its ending and what goes with it, until a thread takes it to complete the
        future by it.
    :ivar count: What it is counted as once it is finished.
    :ivar finished: Its future is done.
    :ivar hurried: Somebody wants to be called when it is finished, and will not wait for it.
    :ivar signals: One held lock for each thread that sleeps until something happens to the task.
    """

    __slots__ = (
        "alarm",
        "batch",
        "count",
        "deadline",
        "deliveries",
        "ending",
        "finished",
        "fn",
        "future",
        "hurried",
        "number",
        "payload",
        "signals",
        "started_at",
        "submitted_at",
        "worker",
    )

    def __init__(
        self,
        number: int,
        fn: Callable[..., Any],
        payload: bytes,
        future: ProcessFuture[Any],
        batch: Batch | None = None,
        deadline: Deadline | None = None,
        submitted_at: float = 0.0,
    ) -> None:
        self.batch = batch
        self.number = number
        self.fn = fn
        self.payload = payload
        self.future = future
        self.worker: WorkerRecord | None = None
        self.deadline = deadline
        self.alarm: Alarm | None = None
        self.submitted_at = submitted_at
        self.started_at: float | None = None
        self.count: Count = "cancelled"
        self.deliveries = 0
        self.ending: tuple[int, Any] | None = None
        self.finished = False
        self.hurried = False
        self.signals: list[threading.Lock] = []

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return name_of(self.fn)

    def times(self, now: float) -> tuple[float, float]:
        """Tell how many seconds it waited for its worker, and ran there until ``now``."""
        started_at = now if self.started_at is None else self.started_at
        return started_at - self.submitted_at, now - started_at

    def signal(self) -> threading.Lock:
        """Add a lock that the calling thread can sleep on until :meth:`wake_waiters`."""
        lock = threading.Lock()
        lock.acquire()
        self.signals.append(lock)
        return lock

    def end(self, kind: int, content: Any) -> None:
        """Note how it ended; whoever takes the ending first completes the future."""
        self.ending = kind, content
        if self.signals:
            self.wake_waiters()

    def wake_waiters(self) -> None:
        """Let every thread that sleeps on this task look at it again."""
        for lock in self.signals:
            lock.release()
        self.signals.clear()
