"""What a group gives for each task: a future that can also be awaited.

Knows neither the group's policy nor where the task runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from flask_concurrency.executors.groups.result import How, TaskResult
from flask_concurrency.executors.linked_future import LinkedFuture, error_of
from flask_concurrency.executors.waiting import loop_here, suspend_until_done
from flask_concurrency.runtime.greenlet_bridge import can_suspend
from flask_concurrency.runtime.managed_blocking import managed_block
from flask_concurrency.vocabulary.errors import LoopBlocked

T = TypeVar("T")


class GroupTask(LinkedFuture[T]):
    """One task of a group: a :class:`concurrent.futures.Future` that can be awaited.

    :ivar name: Name of its function.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._late = False
        self._outcome: TaskResult | None = None

    def __await__(self) -> Generator[Any, None, T]:
        """Wait without blocking the loop; a waiter that is cancelled meanwhile cancels the task."""
        return asyncio.wrap_future(self).__await__()

    def result(self, timeout: float | None = None) -> T:
        """Wait for what the task returns, or raise what it raises.

        :param timeout: Seconds to wait at most; ``None`` until it has ended.
        :raises concurrent.futures.CancelledError: It was cancelled.
        :raises DeadlineExceeded: It had not ended at the group's deadline.
        :raises LoopBlocked: It has not ended, and waiting here would hold an event loop up.
        """
        self._leave_the_loop_alone(timeout)
        return managed_block(partial(super().result, timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task's end; its error, or ``None`` if it returned.

        :raises concurrent.futures.CancelledError: It was cancelled.
        :raises LoopBlocked: It has not ended, and waiting here would hold an event loop up.
        """
        self._leave_the_loop_alone(timeout)
        return managed_block(partial(super().exception, timeout))

    def end(self, how: How, value: Any, error: BaseException | None) -> None:
        """End as the call did; nothing happens if the task has ended before."""
        self._followed = None  # it leads to the call's arguments, and to the request
        if how == "cancelled":
            self.end_cancelled()
            return
        with suppress(InvalidStateError):
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
            self._outcome = TaskResult(self.name, how, value, error)

    def expire(self, error: BaseException) -> None:
        """Its time is up: fail at once, and cancel the call."""
        if not self.done():
            self._late = True
        self.give_up(error)

    def outcome(self) -> TaskResult:
        """How it ended. Asked only once it has."""
        if self._outcome is not None:
            return self._outcome
        if self.cancelled():
            return TaskResult(self.name, "cancelled")
        error = error_of(self)
        if error is None:
            return TaskResult(self.name, "done", value=super().result())
        return TaskResult(self.name, "late" if self._late else "failed", error=error)

    def _leave_the_loop_alone(self, timeout: float | None) -> None:
        """On an event loop, wait as plain code can there, or refuse."""
        if self.done() or loop_here() is None:
            return
        if not can_suspend():
            raise LoopBlocked(
                f"{self.name!r} would be waited for on an event loop, which stands still "
                "meanwhile. Write 'await task' there instead of 'task.result()'."
            )
        suspend_until_done(self, timeout)
