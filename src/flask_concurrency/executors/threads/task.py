"""Run one call and settle its future.

Knows neither the queue the call waited in nor the thread it runs on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Literal

from flask_concurrency.executors.context import Captured
from flask_concurrency.executors.threads.future import SubmittedFuture
from flask_concurrency.runtime.deadline_messages import (
    log_late_end,
    never_started,
    thread_runs_on,
)
from flask_concurrency.runtime.timer_thread import Alarm
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import DeadlineExceeded

Outcome = Literal["done", "failed", "cancelled", "expired"]


class Task:
    """A call that waits for its turn, and the future that holds its outcome.

    :ivar deadline: Until when its result is wanted, or ``None``. At that instant an alarm settles
        the future, should the call still wait or run.
    :ivar alarm: That alarm, where there is one.
    :ivar batch: The ``map`` whose next task takes this one's place when it ends, or ``None``.
    :ivar urgent: Whether a blocked thread may wait for it: it was submitted inside a task of its
        pool, or on the thread of an event loop.
    :ivar queued_at: Instant in seconds at which it was handed in.
    :ivar started_at: When its turn came.
    :ivar ended_at: When it had run.
    :ivar error: What it failed with, until that is told.
    :ivar late: Seconds that it ran past its deadline; ``None`` if it did not, or stopped itself.
    """

    # In the class, so that a task has of its own only what its way through the queue gives it.
    alarm: Alarm | None = None
    batch: Batch | None = None
    urgent = False
    queued_at = started_at = ended_at = 0.0
    late: float | None = None
    error: BaseException | None = None
    _name: str | None = None

    def __init__(
        self,
        future: Future[Any],
        captured: Captured,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._future = future
        self._call = (captured, fn, args, kwargs)
        self.deadline = captured.deadline

    @property
    def name(self) -> str:
        """What its function is called."""
        try:
            fn = self._call[1]
        except AttributeError:  # it runs, and has released the call
            return self._name or "a task"
        return _name_of(fn)

    @property
    def captured(self) -> Captured:
        """The surroundings of its caller. Asked before it runs."""
        return self._call[0]

    def run(self, clock: Clock, executor: str) -> Outcome:
        """Make the call, unless it was cancelled or came too late, and settle the future.

        :param executor: What its pool is called in the log.
        """
        captured, fn, args, kwargs = self._call
        future, deadline = self._future, self.deadline
        self._name = getattr(fn, "__qualname__", None) or _name_of(fn)
        # What still refers to this task (a future's callback, a half-consumed ``map``) keeps
        # neither the request and its uploads any longer, nor a reference cycle with the future.
        del self._call, self._future
        if not future.set_running_or_notify_cancel():
            return "cancelled"
        self.started_at = self.ended_at = started_at = clock()
        # Only now, when the future runs: an alarm that finds a future neither queued nor running
        # counts on this line.
        if deadline is not None and (late := started_at - deadline.at) >= 0:
            fail_if_undone(future, never_started(self.name, late))
            return "expired"
        try:
            result = captured(fn, args, kwargs)
        except BaseException as error:
            if isinstance(future, SubmittedFuture):
                future.lost = executor, self.name
            self.error = error
            self._end(future, clock, None, error)
            return "failed"
        else:
            return self._end(future, clock, result, None)
        finally:
            if deadline is not None:
                self.forget_alarm()
                if self.late is not None:
                    captured.report(log_late_end, self.name, executor, self.late)
            # A traceback keeps this frame, be it this call's or that of one nested in it. It must
            # keep neither the request nor, in a cycle, the future that holds the error.
            del self, future, captured, fn, args, kwargs

    def _end(
        self, future: Future[Any], clock: Clock, result: Any, error: BaseException | None
    ) -> Outcome:
        self.ended_at = clock()
        if self.deadline is not None and (late := self.ended_at - self.deadline.at) >= 0:
            if not isinstance(error, DeadlineExceeded):
                self.late = late
                error, cause = thread_runs_on(self.name), error
                error.__cause__ = cause
            fail_if_undone(future, error)
            return "failed"
        if error is not None:
            fail_if_undone(future, error)
            return "failed"
        try:
            future.set_result(result)
        except InvalidStateError:  # its deadline passes in this very moment
            return "failed"
        return "done"

    def after_run(self) -> None:
        """Called in the thread that ran it, once that is free for the next task."""

    def drop(self, error: BaseException | None = None) -> None:
        """Settle a call that will not run, and wake the threads that wait for it.

        :param error: What it fails with; ``None`` cancels it.
        """
        future = self._future
        self._name = self.name
        del self._call, self._future
        self.forget_alarm()
        if error is None:
            future.cancel()
        # Without this ``concurrent.futures.wait`` goes on waiting for a cancelled future.
        if future.set_running_or_notify_cancel() and error is not None:
            future.set_exception(error)

    def forget_alarm(self) -> None:
        """Cancel the alarm: the future is settled."""
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None


def fail_if_undone(future: Future[Any], error: BaseException) -> None:
    """Fail a future that another thread may settle at the same time."""
    with suppress(InvalidStateError):
        future.set_exception(error)


def _name_of(fn: Callable[..., Any]) -> str:
    for named in (fn, getattr(fn, "func", None), type(fn)):  # the second of a partial function
        name: str | None = getattr(named, "__qualname__", None)
        if name:
            return name
    return "a task"


class Batch:
    """The tasks of one ``map``; guarded by the lock of its pool.

    :ivar waiting: Tasks that are not queued yet, in the order of their results.
    :ivar queued: Tasks that are queued or running, each of which passes its slot on.
    :ivar admitted: Whether one of them was ever queued.
    """

    __slots__ = ("admitted", "queued", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Task] = deque()
        self.queued = 0
        self.admitted = False

    def add(self, task: Task) -> None:
        """Append ``task``."""
        task.batch = self
        self.waiting.append(task)

    def next(self, now: float) -> Task:
        """Take out the next one, which is to be queued."""
        self.queued += 1
        self.admitted = True
        task = self.waiting.popleft()
        task.queued_at = now
        return task

    def take(self, task: Task) -> bool:
        """Take ``task`` out if it is the next in line. It has no slot to pass on."""
        if not self.waiting or self.waiting[0] is not task:
            return False
        self.waiting.popleft().batch = None
        return True

    def clear(self) -> list[Task]:
        """Take all tasks out that are not queued yet."""
        tasks = list(self.waiting)
        self.waiting.clear()
        return tasks
