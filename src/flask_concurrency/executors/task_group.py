"""Let tasks live as long as a block, on whichever executor each runs.

Knows no Flask, and neither when a policy cancels nor what it gives: ``group_policy.py`` does.

Nothing outlives the block. At its end all tasks are waited for, and what is needed no more is
cancelled before: tasks in a queue are dropped, a worker process is killed, a coroutine is
cancelled. A call that runs on a thread cannot be stopped; it sees ``remaining() == 0.0``, and the
block waits for it, at most until the group's deadline.

The shape is Java's ``StructuredTaskScope`` (JEP 505): a policy that is an object of its own, and a
timeout of the whole scope. What is added: each task says where it runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import partial
from math import inf
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

from flask_concurrency.executors.group_executors import GroupExecutor, GroupLoop
from flask_concurrency.executors.group_policy import (
    POLICIES,
    Conclusion,
    PolicyName,
    describe_failures,
)
from flask_concurrency.executors.group_task import GroupTask, is_on_a_loop
from flask_concurrency.executors.linked_future import error_of
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.task_result import How, TaskResult
from flask_concurrency.executors.timekeeper import Alarm, timekeeper
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.deadline import within
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ExecutorError,
    ExecutorShutdown,
    LoopBlocked,
)

T = TypeVar("T")

logger = logging.getLogger("flask_concurrency.executors")

_innermost: Final[ContextVar[TaskGroup | None]] = ContextVar("task_group", default=None)


class TaskGroup:
    """Tasks that end with their block, be it a ``with`` or an ``async with``.

    .. code-block:: python

        with concurrency.task_group(timeout=3.0) as group:
            page = group.threads.submit(fetch, url)
            size = group.processes.submit(crunch, data)
        return {"page": page.result(), "size": size.result()}

    A group inside of another one, or inside one of its tasks, ends when the outer one needs no more
    results, as if its own time were up.

    :param find: Gives the executor of a name.
    :param loop: Runs coroutines where the block does not run on a loop itself.
    :param timeout: Seconds for all tasks together, within those that are left anyway. ``None``
        for no time of its own.
    :param policy: ``"all"``: the first error cancels the rest and is raised. ``"any"``: the first
        result cancels the rest. ``"settle"``: all are waited for, and errors are results.
        ``"partial"``: as ``"all"``, but what is ready at the deadline is the result.
    :param clock: Tells the time.
    :param call_at: Has something called at an instant.
    :raises ConfigurationError: ``timeout`` or ``policy`` is none.
    """

    def __init__(
        self,
        find: Callable[[str], Executor],
        loop: LoopThread,
        *,
        timeout: float | None = None,
        policy: PolicyName = "all",
        clock: Clock = monotonic,
        call_at: Callable[[float, Callable[[], object]], Alarm] = timekeeper.call_at,
    ) -> None:
        self._timeout = _checked_timeout(timeout)
        self._policy_name, self._policy = policy, POLICIES[_checked_policy(policy)]
        self._find = find
        self._shared_loop = loop
        self._clock = clock
        self._call_at = call_at
        self._lock = threading.Lock()
        self._all_ended = threading.Condition(self._lock)
        self._tasks: list[GroupTask[Any]] = []
        self._inner: set[TaskGroup] = set()
        self._running = 0  # calls that have not ended, those of tasks that are late included
        self._entered = self._leaving = self._closed = False
        self._stopped = self._late = False
        self._decisive: GroupTask[Any] | None = None
        self._cut_off = False
        self._wake: Callable[[], object] | None = None
        self._alarm: Alarm | None = None
        self._results: tuple[TaskResult, ...] = ()
        self._conclusion: Conclusion | None = None

    # --- where tasks run ---

    @property
    def threads(self) -> GroupExecutor:
        """The app's threads."""
        return self.executor("threads")

    @property
    def processes(self) -> GroupExecutor:
        """The app's worker processes."""
        return self.executor("processes")

    @property
    def loop(self) -> GroupLoop:
        """The event loop that the block runs on, or else the app's own."""
        self._check_open()
        return GroupLoop(self, self._home, self._shared_loop)

    def executor(self, name: str) -> GroupExecutor:
        """The executor of that name.

        :raises ConfigurationError: There is none.
        """
        return GroupExecutor(self, self._find(name))

    # --- what came of them ---

    @property
    def tasks(self) -> tuple[GroupTask[Any], ...]:
        """All tasks, in the order in which they were submitted."""
        with self._lock:
            return tuple(self._tasks)

    @property
    def missing(self) -> tuple[GroupTask[Any], ...]:
        """The tasks that have no result: they failed, were cancelled, or have not ended."""
        return tuple(
            task
            for task in self.tasks
            if not task.done() or task.cancelled() or error_of(task) is not None
        )

    def results(self) -> list[Any]:
        """The results after the block, in the order in which the tasks were submitted.

        Of ``"any"`` it is the one result, of ``"partial"`` those that are ready, of ``"settle"`` a
        :class:`TaskResult` for each.

        :raises ExecutorError: The block has not ended, or ended with an error.
        :raises concurrent.futures.CancelledError: A task of ``"all"`` was cancelled by hand.
        """
        conclusion = self._conclusion
        if conclusion is None or conclusion.error is not None:
            raise ExecutorError(
                "A group's results are known after its block, if that ended without an error. "
                "Ask a task for its own: task.result()."
            )
        if self._policy_name == "settle":
            return [self._results[number] for number in conclusion.kept]
        return [self._tasks[number].result() for number in conclusion.kept]

    def result(self) -> Any:
        """The one result of a group with ``policy="any"``, after the block.

        :raises ExecutorError: There is none, or the policy is another one.
        """
        if self._policy_name != "any":
            raise ExecutorError(
                f"A group with policy={self._policy_name!r} has many results: group.results()."
            )
        results = self.results()
        if not results:
            raise ExecutorError("A group has no result: no task was left to give one.")
        return results[0]

    # --- the block ---

    def __enter__(self) -> TaskGroup:
        if is_on_a_loop():
            raise LoopBlocked(
                "The end of this block would hold up the event loop it runs on. "
                "Write 'async with concurrency.task_group(...)' there."
            )
        return self._begin(None)

    async def __aenter__(self) -> TaskGroup:
        return self._begin(asyncio.get_running_loop())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._end_body(error)
        try:
            interruption = self._join()
        finally:
            self._leave()
        return self._conclude(error, interruption)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._end_body(error)
        try:
            interruption = await self._join_on_loop()
        finally:
            self._leave()
        return self._conclude(error, interruption)

    def _begin(self, home: asyncio.AbstractEventLoop | None) -> TaskGroup:
        if self._entered:
            raise ExecutorError("A task group is entered once. Make another one.")
        self._entered = True
        self._home = home
        self._outer = _innermost.get()
        self._deadline = within(self._timeout, self._clock)
        self._at = self._deadline.at
        self._deadline.__enter__()
        self._token: Token[TaskGroup | None] = _innermost.set(self)
        if self._outer is not None:
            self._outer._take_in(self)
        return self

    def _end_body(self, error: BaseException | None) -> None:
        if isinstance(error, DeadlineExceeded) and self._clock() >= self._at:
            self.time_is_up()  # the body was told before the group was
        self._cut_off = error is not None and self._stopped and _is_of_a_stop(error)
        if error is not None:
            self._stop()
        with self._lock:
            self._leaving = True
            self._closed = not self._running

    def _join(self) -> BaseException | None:
        """Wait until all calls have ended. Gives what interrupted that, such as Ctrl-C."""
        interruption: BaseException | None = None
        while True:
            try:
                with self._lock:
                    while not self._closed:
                        self._all_ended.wait()
                return interruption
            except BaseException as error:
                if interruption is not None:  # whoever insists need not wait for threads
                    raise
                interruption = error
                self._stop()

    async def _join_on_loop(self) -> BaseException | None:
        """The same without blocking the loop."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._closed:
                return None
            self._wake = partial(loop.call_soon_threadsafe, ended.set_result, None)
        interruption: BaseException | None = None
        while not ended.done():
            try:
                await asyncio.wait([ended])  # which does not cancel what it waits for
            except asyncio.CancelledError as error:
                interruption = error
                self._stop()
        return interruption

    def _leave(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._outer is not None:
            with self._outer._lock:
                self._outer._inner.discard(self)
        _innermost.reset(self._token)
        self._deadline.__exit__(None, None, None)

    def _conclude(self, error: BaseException | None, interruption: BaseException | None) -> bool:
        """Raise what comes of the group, or tell whether the body's error is thereby settled."""
        results = self._results = tuple(task.outcome() for task in self._tasks)
        decisive = None if self._decisive is None else self._tasks.index(self._decisive)
        conclusion = self._policy.conclude(results, decisive)
        of_block = interruption or (None if self._cut_off else error)
        if of_block is not None and of_block is not conclusion.error:
            self._conclusion = Conclusion(of_block)
            _add_notes(of_block, describe_failures(results, apart_from=of_block))
            if of_block is not error:
                raise of_block
            return False
        self._conclusion = conclusion
        if conclusion.error is None:
            return conclusion.covers_body
        _add_notes(conclusion.error, conclusion.notes)
        if conclusion.error is not error:
            _raise_as_it_is(conclusion.error)
        return False

    # --- the tasks, in any thread ---

    def start(self, name: str, call: Callable[[], Future[T]]) -> GroupTask[T]:
        """Have ``call`` submit something, and take its future into the group.

        :param name: What the task is called in messages.
        :raises ExecutorShutdown: The group has ended.
        """
        task: GroupTask[T] = GroupTask(name)
        with self._lock:
            self._check_open()
            self._tasks.append(task)
            self._running += 1
            if self._alarm is None and self._at != inf:
                self._alarm = self._call_at(self._at, self.time_is_up)
        try:
            if self._clock() >= self._at:
                self.time_is_up()
            if not self._stopped:
                self._submit(task, call)
                return task
        except BaseException:
            with self._lock:
                self._tasks.remove(task)
            self._one_ended()
            raise
        if self._late:
            task.be_late(_too_late(name))
        task.end_cancelled()
        self._one_ended()
        return task

    def _submit(self, task: GroupTask[T], call: Callable[[], Future[T]]) -> None:
        with self._deadline:  # which is not current where a task submits, or another group's block
            future = call()
        task.follow(future)
        future.add_done_callback(partial(self._ended, task))
        if self._stopped:  # meanwhile
            _cancel(task)

    def _ended(self, task: GroupTask[Any], future: Future[Any]) -> None:
        """A call has ended: note it, wake who waits for it, and cancel the rest if need be."""
        try:
            how = self._how(future)
            with self._lock:
                decides = not self._stopped and self._policy.stops(how)
                if decides:  # noted first, so that a body that it wakes finds it decided
                    self._stopped = True
                    self._decisive = task
            if how == "cancelled":
                task.end_cancelled()
            task.adopt(future)
            if decides:
                self._cancel_rest()
        finally:
            self._one_ended()

    def _how(self, future: Future[Any]) -> How:
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        if isinstance(error, DeadlineExceeded):
            if self._clock() >= self._at:
                self.time_is_up()
            if self._stopped:  # it asked for the time, and was told that nobody waits
                return "cancelled"
        return "done" if error is None else "failed"

    def _one_ended(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running or not self._leaving:
                return
            self._closed = True
            self._all_ended.notify_all()
            wake = self._wake
        if wake is not None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits on it
                wake()

    # --- the end of what is not needed any more ---

    def time_is_up(self) -> None:
        """End all tasks that have not ended, as too late."""
        with self._lock:
            if self._late or self._closed:
                return
            self._late = self._stopped = True
            late = [task for task in self._tasks if not task.done()]
        self._deadline.expire()
        for task in late:
            _guarded(partial(task.be_late, _too_late(task.name)))
        self._end_inner()

    def _stop(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        self._cancel_rest()

    def _cancel_rest(self) -> None:
        self._deadline.expire()  # seen by running threads, too
        for task in self.tasks:
            if not task.done():
                _cancel(task)
        self._end_inner()

    def _take_in(self, inner: TaskGroup) -> None:
        with self._lock:
            if not self._stopped:
                self._inner.add(inner)
                return
            closed = self._closed
        if not closed:
            inner.time_is_up()

    def _end_inner(self) -> None:
        with self._lock:
            inner = list(self._inner)
        for group in inner:
            group.time_is_up()

    def _check_open(self) -> None:
        if not self._entered or self._closed:
            when = "has ended" if self._entered else "has not begun"
            raise ExecutorShutdown(
                f"A task group {when}, and takes no task. Submit inside of its block: "
                "'with concurrency.task_group() as group:'."
            )


def _is_of_a_stop(error: BaseException) -> bool:
    """Whether a body may owe this error to a task that was cancelled or late."""
    if isinstance(error, asyncio.CancelledError):  # or is it the task around the body?
        current = asyncio.current_task()
        return current is not None and current.cancelling() == 0
    return isinstance(error, concurrent.futures.CancelledError | DeadlineExceeded)


def _too_late(name: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{name!r} had not ended when the time of its group was up.")


def _cancel(task: GroupTask[Any]) -> None:
    _guarded(task.cancel_call)


def _guarded(end: Callable[[], object]) -> None:
    try:
        end()
    except Exception:  # of a stranger's executor; the others shall be cancelled all the same
        logger.exception("A task could not be cancelled")


def _add_notes(error: BaseException, notes: tuple[str, ...]) -> None:
    for note in notes:
        error.add_note(note)


def _raise_as_it_is(error: BaseException) -> NoReturn:
    """Raise a task's error with its own story, in which the body's error has no part."""
    context = error.__context__
    try:
        raise error
    except BaseException:
        error.__context__ = context
        raise
    finally:
        del error  # the traceback keeps this frame


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    wrong = isinstance(timeout, bool) or not isinstance(timeout, int | float)
    if wrong or not 0 <= timeout < inf:
        raise ConfigurationError(
            f"timeout={timeout!r}: give seconds, as in task_group(timeout=2.0), or None."
        )
    return float(timeout)


def _checked_policy(policy: PolicyName) -> PolicyName:
    if policy not in POLICIES:
        raise ConfigurationError(
            f"policy={policy!r}: choose one of {', '.join(map(repr, POLICIES))}."
        )
    return policy
