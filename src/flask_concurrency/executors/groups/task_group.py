"""Let tasks live as long as a block, on whichever executor each runs.

Knows no Flask, and neither when a policy cancels nor what it gives: ``policy.py`` does.

Nothing outlives the block: at its end all tasks are waited for, and what is needed no more is
cancelled before. The one exception is a call that runs on a thread, which cannot be stopped. The
block waits for it, at most until the group's deadline.

The shape is Java's ``StructuredTaskScope`` (JEP 505): a policy that is an object of its own, and a
timeout of the whole scope. What is added: each task says where it runs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar, Token
from functools import partial
from math import inf
from types import TracebackType
from typing import Any, Final, NoReturn

from flask_concurrency.executors.groups.executors import GroupExecutor, GroupLoop
from flask_concurrency.executors.groups.policy import (
    POLICIES,
    Conclusion,
    PolicyName,
    describe_failures,
)
from flask_concurrency.executors.groups.result import TaskResult
from flask_concurrency.executors.groups.task import GroupTask
from flask_concurrency.executors.groups.tasks import CallAt, GroupTasks
from flask_concurrency.executors.linked_future import error_of
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.waiting import loop_here
from flask_concurrency.runtime.deadline import current_deadline, within
from flask_concurrency.runtime.greenlet_bridge import can_suspend, suspend
from flask_concurrency.runtime.timer_thread import timekeeper
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ExecutorError,
    ExecutorShutdown,
    LoopBlocked,
)

_innermost: Final[ContextVar[GroupTasks | None]] = ContextVar("task_group", default=None)
"""The tasks of the group that the running code is inside of, be it in a block or in a task."""


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
    :param clock: Source of the time.
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
        call_at: CallAt = timekeeper.call_at,
    ) -> None:
        self._timeout = _checked_timeout(timeout)
        self._policy_name, self._policy = policy, POLICIES[_checked_policy(policy)]
        self._find = find
        self._shared_loop = loop
        self._clock = clock
        self._call_at = call_at
        self._begun: GroupTasks | None = None
        self._cut_off = False
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
        return GroupLoop(self._group_tasks, self._home, self._shared_loop)

    def executor(self, name: str) -> GroupExecutor:
        """The executor of that name.

        :raises ConfigurationError: There is none.
        """
        return GroupExecutor(self._group_tasks, self._find(name))

    # --- what came of them ---

    @property
    def tasks(self) -> tuple[GroupTask[Any], ...]:
        """All tasks, in the order in which they were submitted."""
        return () if self._begun is None else self._begun.tasks

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
        tasks = self.tasks
        return [tasks[number].result() for number in conclusion.kept]

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
        home = loop_here()
        if home is not None and not can_suspend():
            raise LoopBlocked(
                "The end of this block would hold up the event loop it runs on. "
                "Write 'async with concurrency.task_group(...)' there."
            )
        return self._begin(home)

    async def __aenter__(self) -> TaskGroup:
        return self._begin(asyncio.get_running_loop())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._end_body(error)
        try:
            interruption = suspend(self._join_on_loop()) if can_suspend() else self._join()
        finally:
            self._leave()
        return self._conclude(error, interruption)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._end_body(error)
        try:
            interruption = await self._join_on_loop()
        finally:
            self._leave()
        return self._conclude(error, interruption)

    def _begin(self, home: asyncio.AbstractEventLoop | None) -> TaskGroup:
        if self._begun is not None:
            raise ExecutorError("A task group is entered once. Make another one.")
        self._home = home
        self._outer = _surrounding()
        self._deadline = within(self._timeout, self._clock)
        group_tasks = GroupTasks(self._policy, self._deadline, self._clock, self._call_at)
        self._begun = group_tasks
        self._deadline.__enter__()
        self._token: Token[GroupTasks | None] = _innermost.set(group_tasks)
        if self._outer is not None:
            self._outer.add_child(group_tasks)
        return self

    def _end_body(self, error: BaseException | None) -> None:
        group_tasks = self._group_tasks
        if isinstance(error, DeadlineExceeded) and group_tasks.deadline_has_passed:
            group_tasks.expire()  # the body noticed before the group did
        self._cut_off = error is not None and group_tasks.stopped and _is_of_a_stop(error)
        if error is not None:
            group_tasks.stop()
        group_tasks.leave()

    def _join(self) -> BaseException | None:
        """Wait until all calls have ended. Gives what interrupted that, such as Ctrl-C."""
        interruption: BaseException | None = None
        while True:
            try:
                self._group_tasks.wait()
                return interruption
            except BaseException as error:
                if interruption is not None:  # second Ctrl-C: stop waiting
                    raise
                interruption = error
                self._group_tasks.stop()

    async def _join_on_loop(self) -> BaseException | None:
        """The same without blocking the loop."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        wake = partial(loop.call_soon_threadsafe, ended.set_result, None)
        if not self._group_tasks.wake_by(wake):
            return None
        interruption: BaseException | None = None
        while not ended.done():
            try:
                await asyncio.wait([ended])  # which does not cancel what it waits for
            except asyncio.CancelledError as error:
                interruption = error
                self._group_tasks.stop()
        return interruption

    def _leave(self) -> None:
        group_tasks = self._group_tasks
        group_tasks.forget_time()
        if self._outer is not None:
            self._outer.remove_child(group_tasks)
        _innermost.reset(self._token)
        self._deadline.__exit__(None, None, None)

    def _conclude(self, error: BaseException | None, interruption: BaseException | None) -> bool:
        """Raise the error of the group, or return whether the body's error is settled thereby."""
        tasks, deciding = self.tasks, self._group_tasks.deciding
        results = self._results = tuple(task.outcome() for task in tasks)
        conclusion = self._policy.conclude(
            results, None if deciding is None else tasks.index(deciding)
        )
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

    @property
    def _group_tasks(self) -> GroupTasks:
        if self._begun is None:
            raise ExecutorShutdown(
                "A task group takes tasks inside of its block: "
                "'with concurrency.task_group() as group:'."
            )
        return self._begun


class AllTaskGroup(TaskGroup):
    """A group of policy ``"all"``, whose block never hides an error: type checkers know it so."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)


def _surrounding() -> GroupTasks | None:
    """The tasks of the group around, unless this is work that was spawned to outlive them."""
    group_tasks, deadline = _innermost.get(), current_deadline()
    if group_tasks is None or deadline is None or not deadline.is_inside(group_tasks.deadline):
        return None
    return group_tasks


def _is_of_a_stop(error: BaseException) -> bool:
    """Whether this error may come from a task that was cancelled or late."""
    if isinstance(error, asyncio.CancelledError):  # or is it the task around the body?
        current = None if loop_here() is None else asyncio.current_task()
        return current is not None and current.cancelling() == 0
    return isinstance(error, concurrent.futures.CancelledError | DeadlineExceeded)


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
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ConfigurationError(
            f"policy={policy!r}: choose one of {', '.join(map(repr, POLICIES))}."
        )
    return policy
