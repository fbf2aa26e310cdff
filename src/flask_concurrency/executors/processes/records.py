"""Hold what the owner of workers knows: tasks, their futures, workers, the batches of ``map``.

Decides nothing, and knows the pool only as the driver of its futures. The pool's lock guards it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, Protocol, TypeVar

from flask_concurrency.executors.processes.payloads import name_of
from flask_concurrency.executors.processes.wire import Channel
from flask_concurrency.executors.waiting import wait_on_loop
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.timer_thread import Alarm

T = TypeVar("T")

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


class WorkerRecord:
    """A worker process, seen from its owner.

    :ivar number: Counts the workers of a pool from 1; the launcher knows the worker by it.
    :ivar ready: It has said that its set-up is done.
    :ivar task: What it works on.
    :ivar replies: Tasks it has answered.
    :ivar dismissed: It belongs to the pool no more. If a round holds it, that closes the channel.
    :ivar holder: The round whose thread alone may use ``channel`` now; see ``readers.py``.
    :ivar idle_since: Monotonic instant of its last answer, if it is idle.
    :ivar exitcode: What the process ended with, once the launcher has told.
    :ivar killed_because: Why this process had it killed; ``None`` if it did not.
    :ivar lost_because: Why the launcher ended, and this worker with it; ``None`` if it did not.
    """

    __slots__ = (
        "channel",
        "dismissed",
        "exitcode",
        "holder",
        "idle_since",
        "killed_because",
        "lost_because",
        "number",
        "ready",
        "replies",
        "task",
    )

    def __init__(self, number: int, channel: Channel) -> None:
        self.number = number
        self.channel = channel
        self.ready = False
        self.task: Task | None = None
        self.replies = 0
        self.dismissed = False
        self.idle_since = 0.0
        self.holder: object | None = None
        self.exitcode: int | None = None
        self.killed_because: str | None = None
        self.lost_because: str | None = None


class Batch:
    """The tasks of one ``map``.

    :ivar placed: Tasks that stand in the queue or have a worker.
    :ivar waiting: Tasks that do not, in their order.
    """

    __slots__ = ("placed", "waiting")

    def __init__(self) -> None:
        self.placed = 0
        self.waiting: OrderedDict[int, Task] = OrderedDict()


class Driver(Protocol):
    """What a future asks of the pool that made it."""

    def drive(self, task: Task, timeout: float | None) -> None:
        """Wait until the task is finished, ``timeout`` seconds at most."""

    def withdraw(self, task: Task) -> bool:
        """Take a waiting task out of the queue, and say whether that was done."""

    def hasten(self, task: Task) -> None:
        """Read the reply to the task as soon as it comes."""

    def finish(self, future: Future[Any], /) -> None:
        """Forget the task of a future that is done."""


class ProcessFuture(Future[T]):
    """A ``Future`` in everything, except that waiting for it does the work of a reader thread.

    And it can be cancelled until it is done: a task that runs loses its worker. For that it stays
    pending, to the standard library's eyes, until it is done; only :meth:`running` tells.
    """

    _driver: Driver
    _task: Task | None = None

    def attach(self, driver: Driver, task: Task) -> None:
        """Tell the future whose it is, before anyone else sees it."""
        self._driver = driver
        self._task = task
        # The first of the callbacks: waiting threads must not wait for the application's, and
        # neither must the end of a worker whose task is cancelled.
        super().add_done_callback(driver.finish)

    def detach(self) -> Task | None:
        """Forget the task, which holds the future: the result shall not live in a cycle."""
        task, self._task = self._task, None
        return task

    def running(self) -> bool:
        """Whether a worker has the call now."""
        task = self._task
        return task is not None and task.started_at is not None and not self.done()

    def cancel_if_waiting(self) -> bool:
        """Cancel the call unless it runs, and say whether it is cancelled."""
        task = self._task
        if task is not None and not self._driver.withdraw(task):
            return False
        return self.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Return what the task returned, or raise what it raised, waiting for it."""
        self._wait(timeout)
        try:
            return super().result(timeout=0)
        finally:
            self = None  # type: ignore[assignment] # no cycle of exception, traceback and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or ``None``, waiting for it."""
        self._wait(timeout)
        return super().exception(timeout=0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have ``fn`` called with the future once it is done, on the thread that completes it."""
        super().add_done_callback(fn)
        task = self._task
        if task is not None:
            self._driver.hasten(task)

    def _wait(self, timeout: float | None) -> None:
        task = self._task
        # Done, it may still have its task: in a callback, which must not wait for its own end.
        if task is not None and not self.done() and not wait_on_loop(self, timeout):
            self._driver.drive(task, timeout)
