"""Hold the tasks of one group: take them in, note how each ends, end those that are not needed.

Knows no block and no body, and neither where a task runs nor what its ending means to the policy.
Every method may be called in any thread.

When the group is stopped, tasks in a queue are dropped, a worker process is killed, a coroutine is
cancelled. A call that runs on a thread cannot be stopped; it sees ``remaining() == 0.0``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final, TypeVar

from flask_concurrency.executors.groups.policy import Policy
from flask_concurrency.executors.groups.result import How
from flask_concurrency.executors.groups.task import GroupTask
from flask_concurrency.executors.linked_future import error_of
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.runtime.deadline_messages import late_in_group
from flask_concurrency.runtime.managed_blocking import managed_block
from flask_concurrency.runtime.timer_thread import Alarm
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import DeadlineExceeded, ExecutorShutdown
from flask_concurrency.vocabulary.safe_logger import SafeLogger

T = TypeVar("T")

logger = SafeLogger("flask_concurrency.executors")

CallAt = Callable[[float, Callable[[], object]], Alarm]
"""Has something called at a monotonic instant."""

_LOOK_UP: Final = 1.0
"""Seconds after which a waiting thread looks up: it may fall asleep just when Ctrl-C has come."""


class GroupTasks:
    """The tasks of one group.

    :param policy: Says when the rest is cancelled.
    :param deadline: Theirs. Only they expire it, when they are stopped.
    :param clock: Source of the time.
    :param call_at: Rings at the deadline.
    :ivar deadline: Theirs.
    :ivar at: The deadline's instant, before it was expired.
    :ivar stopped: No more results are needed.
    :ivar deciding: The task whose ending stopped the group, if one did.
    """

    def __init__(self, policy: Policy, deadline: Deadline, clock: Clock, call_at: CallAt) -> None:
        self._policy = policy
        self.deadline = deadline
        self.at = deadline.at
        self._clock = clock
        self._call_at = call_at
        self._alarm: Alarm | None = None
        self._lock = threading.Lock()
        self._all_ended = threading.Condition(self._lock)
        self._tasks: list[GroupTask[Any]] = []
        self._inner: set[GroupTasks] = set()
        self._running = 0  # calls that have not ended, those of tasks that are late included
        self._leaving = self._closed = False
        self.stopped = self._late = False
        self.deciding: GroupTask[Any] | None = None
        self._wake: Callable[[], object] | None = None

    @property
    def tasks(self) -> tuple[GroupTask[Any], ...]:
        """All of them, in the order in which they came."""
        with self._lock:
            return tuple(self._tasks)

    @property
    def deadline_has_passed(self) -> bool:
        """Whether the deadline has passed, be it noticed or not."""
        return self._clock() >= self.at

    def start(self, name: str, call: Callable[[], Future[T]]) -> GroupTask[T]:
        """Have ``call`` submit something, and take its future into the group.

        :param name: What the task is called in messages.
        :raises ExecutorShutdown: The group has ended.
        :raises Exception: What ``call`` raises; there is no task then.
        """
        task: GroupTask[T] = GroupTask(name)
        with self._lock:
            if self._closed:
                raise ExecutorShutdown(
                    f"{name!r} refused: its task group has ended. Submit inside of the group's "
                    "block: 'with concurrency.task_group() as group:'."
                )
            self._tasks.append(task)
            self._running += 1
        try:
            self._set_alarm()
            if self.deadline_has_passed:
                self.expire()
            if not self.stopped:
                self._submit(task, call)
                return task
        except BaseException:
            with self._lock:
                self._tasks.remove(task)
            self._one_ended()
            raise
        if self._late:
            task.expire(late_in_group(name))
        task.end_cancelled()
        self._one_ended()
        return task

    def stop(self) -> None:
        """Cancel what has not ended: no more results are needed."""
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
        self._cancel_rest()

    def expire(self) -> None:
        """End all tasks that have not ended, as too late."""
        with self._lock:
            if self._late or self._closed:
                return
            self._late = self.stopped = True
            late = [task for task in self._tasks if not task.done()]
        self.deadline.expire()
        for task in late:
            _guarded(partial(task.expire, late_in_group(task.name)))
        self._end_inner()

    def add_child(self, inner: GroupTasks) -> None:
        """Let the tasks of a group inside end with these, as if their own time were up."""
        with self._lock:
            if self._closed:
                return
            if not self.stopped:
                self._inner.add(inner)
                return
        inner.expire()

    def remove_child(self, inner: GroupTasks) -> None:
        """A group inside has ended."""
        with self._lock:
            self._inner.discard(inner)

    # --- the end of the block ---

    def leave(self) -> None:
        """Take no more tasks once all have ended."""
        with self._lock:
            self._leaving = True
            self._closed = not self._running

    def wait(self) -> None:
        """After :meth:`leave`: block until all calls have ended."""
        managed_block(self._wait)  # some may be on one

    def _wait(self) -> None:
        with self._lock:
            while not self._closed:
                self._all_ended.wait(_LOOK_UP)

    def wake_by(self, wake: Callable[[], object]) -> bool:
        """After :meth:`leave`: have ``wake`` called when all calls have ended.

        :returns: Whether there is anything to wait for.
        """
        with self._lock:
            self._wake = wake
            return not self._closed

    def forget_time(self) -> None:
        """Let the alarm be."""
        if self._alarm is not None:
            self._alarm.cancel()

    # --- inside ---

    def _set_alarm(self) -> None:
        with self._lock:
            if self._alarm is None and self.at != inf:
                self._alarm = self._call_at(self.at, self.expire)

    def _submit(self, task: GroupTask[T], call: Callable[[], Future[T]]) -> None:
        with self.deadline:  # which is not current where a task submits, or another group's block
            future = call()
        task.follow(future)
        future.add_done_callback(partial(self._ended, task))
        if self.stopped:  # meanwhile
            _guarded(task.cancel_call)

    def _ended(self, task: GroupTask[Any], future: Future[Any]) -> None:
        """A call has ended: note it, wake its waiter, and cancel the rest if need be."""
        try:
            error = error_of(future)
            how: How = "cancelled" if future.cancelled() else "done"
            if error is not None:
                how = self._how_it_failed(task, error)
            with self._lock:
                decides = not self.stopped and self._policy.stops(how)
                if decides:  # noted first, so that a body that it wakes finds it decided
                    self.stopped = True
                    self.deciding = task
            task.end(how, future.result() if how == "done" else None, error)
            if decides:
                self._cancel_rest()
        finally:
            self._one_ended()

    def _how_it_failed(self, task: GroupTask[Any], error: BaseException) -> How:
        if self.deadline_has_passed:  # and is why it failed, as far as is known
            self.expire()
            if task.done() and (late := error_of(task)) is not None:
                late.__cause__ = error
        if self.stopped and isinstance(error, DeadlineExceeded):
            return "cancelled"  # it asked for the time left, and there was none
        return "failed"

    def _one_ended(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running or not self._leaving:
                return
            self._closed = True
            self._all_ended.notify_all()
            wake = self._wake
        if wake is not None:
            with suppress(RuntimeError):  # the loop is closed, and no task waits on it
                wake()

    def _cancel_rest(self) -> None:
        self.deadline.expire()  # seen by running threads, too
        for task in self.tasks:
            if not task.done():
                _guarded(task.cancel_call)
        self._end_inner()

    def _end_inner(self) -> None:
        with self._lock:
            inner = list(self._inner)
        for group_tasks in inner:
            group_tasks.expire()


def _guarded(end: Callable[[], object]) -> None:
    try:
        end()
    except Exception:  # of an executor of the app's; the other tasks are cancelled all the same
        logger.exception("A task could not be cancelled")
