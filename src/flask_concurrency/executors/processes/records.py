"""Hold what the owner of workers knows: tasks, their futures, workers, the batches of ``map``.

Decides nothing, and knows the pool only as the driver of its futures. The pool's lock guards it.
"""

from __future__ import annotations

import threading
from asyncio import _get_running_loop
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import Any, Literal, Protocol, TypeVar

from flask_concurrency.executors.processes.payloads import name_of
from flask_concurrency.executors.processes.wire import Channel
from flask_concurrency.executors.signal_safe_future import SignalSafeFuture
from flask_concurrency.executors.waiting import wait_on_loop
from flask_concurrency.executors.waiting_line import Slot
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.timer_thread import Alarm

T = TypeVar("T")

Count = Literal["done", "failed", "cancelled", "expired"]

DONE = (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED)
"""States of a future that is done. To look at its state needs no lock, as ``done()`` does, which a
thread that was interrupted in ``wait()`` may hold."""

NO_REPLY = 0
"""Kind of an ending that no worker has sent: the error was made in this process."""


class Task:
    """One submitted call.

    *Facts* are what the schedule can be rebuilt from. Each is written by a single assignment, which
    an exception of a signal handler does not split.

    :ivar number: Goes out with the call and must come back with the reply. ``0`` until admitted.
    :ivar batch: The ``map`` it belongs to, if any.
    :ivar slot: What its caller waits for while the queue is full; see ``waiting_line.py``.
    :ivar worker: The worker it was given to; ``None`` while it waits and after its reply. Follows
        from the fact ``Worker.task``.
    :ivar deadline: Until when its result is wanted, if that was said.
    :ivar alarm: What ends it at its deadline, until it is finished.
    :ivar submitted_at: Monotonic instant in seconds.
    :ivar started_at: When it was given to its worker; ``None`` before.
    :ivar deliveries: How often it was given to a worker.
    :ivar ending: Fact: kind of its ending and what goes with it.
    :ivar settler: Fact: the turn whose thread completes the future by the ending.
    :ivar count: What it is counted as once it is finished.
    :ivar finished: Fact: its future is done, and the schedule knows.
    :ivar read_soon: A callback waits for it, so the background thread reads its reply at once.
    :ivar signals: One held lock for each thread that sleeps until something happens to the task.
    """

    # In the class, so that a task has of its own only what its way gives it.
    number = 0
    slot: Slot | None = None
    worker: Worker | None = None
    alarm: Alarm | None = None
    started_at: float | None = None
    count: Count = "cancelled"
    deliveries = 0
    ending: tuple[int, Any] | None = None
    settler: object | None = None
    finished = False
    read_soon = False
    signals: tuple[threading.Lock, ...] = ()

    def __init__(
        self,
        driver: Driver,
        fn: Callable[..., Any],
        payload: bytes,
        batch: Batch | None = None,
        deadline: Deadline | None = None,
        submitted_at: float = 0.0,
    ) -> None:
        self.batch = batch
        self.fn = fn
        self.payload = payload
        self.deadline = deadline
        self.submitted_at = submitted_at
        self.future: ProcessFuture[Any] = ProcessFuture()
        self.future.driver = driver
        self.future.task = self

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return name_of(self.fn)

    @property
    def ended_here(self) -> bool:
        """Whether it has an ending for which no worker's reply is to be unpickled."""
        return self.ending is not None and self.ending[0] == NO_REPLY

    def signal(self) -> threading.Lock:
        """Add a lock that the calling thread can sleep on until :meth:`wake_waiters`."""
        lock = threading.Lock()
        lock.acquire()
        self.signals = (*self.signals, lock)
        return lock

    def wake_waiters(self) -> None:
        """Let every thread that sleeps on this task look at it again."""
        for lock in self.signals:
            if lock.locked():  # else an interrupted thread has released it before
                lock.release()
        self.signals = ()


class Worker:
    """A worker process, seen from its owner.

    :ivar number: Counts the workers of a pool from 1; the launcher knows the worker by it.
    :ivar channel: Its socket, once it is being started.
    :ivar launched: Fact: the launcher has it, and it owes the message that it is ready.
    :ivar ready: Fact: it has said that its set-up is done.
    :ivar task: Fact: what it works on.
    :ivar answered: Number of the last task it has answered.
    :ivar replies: Tasks it has answered.
    :ivar gone: Fact: it belongs to the pool no more. The turn that holds it closes the channel.
    :ivar reader: Fact: the turn whose thread alone may use ``channel`` now; see ``readers.py``.
    :ivar idle_since: Monotonic instant of its last answer, if it is idle.
    :ivar exitcode: What the process ended with, once the launcher has reported it.
    :ivar killed_because: Why this process had it killed; ``None`` if it did not.
    :ivar start_again: Its launcher was unfit: another kind of launcher is to start it anew.
    :ivar lost_because: Why the launcher ended, and this worker with it; ``None`` if it did not.
    """

    __slots__ = (
        "answered",
        "channel",
        "exitcode",
        "gone",
        "idle_since",
        "killed_because",
        "launched",
        "lost_because",
        "number",
        "reader",
        "ready",
        "replies",
        "start_again",
        "task",
    )

    channel: Channel

    def __init__(self, number: int) -> None:
        self.number = number
        self.launched = False
        self.ready = False
        self.task: Task | None = None
        self.answered: int | None = None
        self.replies = 0
        self.gone = False
        self.idle_since = 0.0
        self.reader: object | None = None
        self.exitcode: int | None = None
        self.killed_because: str | None = None
        self.lost_because: str | None = None
        self.start_again = False

    @property
    def owes(self) -> bool:
        """Whether something is to be read: that it is ready, the reply to its task, its end."""
        ended = self.exitcode is not None or self.lost_because is not None
        return self.launched and (self.task is not None or not self.ready or ended)

    def close(self) -> None:
        """Close its channel, which the process takes as the end."""
        if hasattr(self, "channel"):
            self.channel.close()


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
        """Take a waiting task out of the queue, and return whether that was done."""

    def read_soon(self, task: Task) -> None:
        """Read the reply to the task as soon as it comes."""

    def finish(self, task: Task) -> None:
        """Forget a task whose future is done."""

    def call_back(self, fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        """Call an application's callback, on the background thread."""

    def interrupted(self) -> None:
        """Mend what the calling thread was about, which an exception ended at some line."""


class ProcessFuture(SignalSafeFuture[T]):
    """A ``Future`` in everything, except that waiting for it does the work of a reader thread.

    And it can be cancelled until it is done: a task that runs loses its worker. For that it stays
    pending, to the standard library's eyes, until it is done; only :meth:`running` and ``repr``
    tell.

    :ivar driver: The pool of its task.
    :ivar task: Its task, until it is finished.
    """

    driver: Driver
    task: Task | None = None

    def __repr__(self) -> str:
        return super().__repr__().replace("state=pending", "state=running", int(self.running()))

    def running(self) -> bool:
        """Whether a worker has the call now."""
        task = self.task
        return task is not None and task.started_at is not None and not self.done()

    def cancel(self) -> bool:
        """Cancel the call, and return whether it is cancelled; one that runs loses its worker."""
        task = self.task
        if task is None:
            return super().cancel()
        try:
            cancelled = super().cancel()
            if cancelled:
                self.driver.finish(task)
        except BaseException:
            self.driver.interrupted()
            raise
        return cancelled

    def cancel_if_waiting(self) -> bool:
        """Cancel the call unless it runs, and return whether it is cancelled."""
        task = self.task
        if task is not None and not self.driver.withdraw(task):
            return False
        return self.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Return what the task returned, or raise what it raised, waiting for it."""
        try:
            self._wait(timeout)
            # Done, it changes no more: to look needs no lock.
            if self._state == FINISHED and self._exception is None:
                return self._result  # type: ignore[return-value] # None is its type then
            return super().result(timeout=0)
        finally:
            self = None  # type: ignore[assignment] # no cycle of exception, traceback and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or ``None``, waiting for it."""
        self._wait(timeout)
        return super().exception(timeout=0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have ``fn`` called with the future once it is done, on the pool's background thread."""
        task = self.task
        if task is None or self.done():
            super().add_done_callback(fn)
            return
        driver = self.driver
        super().add_done_callback(lambda future: driver.call_back(fn, future))
        driver.read_soon(task)

    def _wait(self, timeout: float | None) -> None:
        task = self.task
        # Done, it may still have its task: in a callback, which must not wait for its own end.
        if task is None or self._state in DONE:
            return
        # To ask first saves what it takes to find out that a thread has no loop.
        if _get_running_loop() is None or not wait_on_loop(self, timeout):
            self.driver.drive(task, timeout)
