"""Decide what becomes of a coroutine that no caller waits for. Knows no thread and no context."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from flask_concurrency.executors.loop.call import Call, Host, T, logger, name_of
from flask_concurrency.executors.signal_safe_future import SignalSafeFuture
from flask_concurrency.executors.waiting import check_process
from flask_concurrency.runtime.forks import generation
from flask_concurrency.runtime.managed_blocking import managed_block
from flask_concurrency.vocabulary.errors import LoopBlocked


class SpawnedCall(Call[T]):
    """A call that outlives its caller. Its failure is logged, whether or not a caller asks."""

    __slots__ = ("future", "name")

    def __init__(
        self, host: Host, coroutine: Coroutine[Any, Any, T], context: Context, name: str | None
    ) -> None:
        super().__init__(host, coroutine, context)
        self.name = name or name_of(coroutine)
        self.future: BackgroundTask[T] = BackgroundTask(self)

    def start(self) -> None:
        super().start()
        if self.task is not None:
            self.task.set_name(self.name)

    def ended(self) -> None:
        if self.error is None:
            self.future.set_result(self.result)
        elif isinstance(self.error, asyncio.CancelledError):
            self.future.set_cancelled()
        else:
            logger.error("Background task %r failed", self.name, exc_info=self.error)
            self.future.set_exception(self.error)


class BackgroundTask(SignalSafeFuture[T]):
    """The future of a spawned coroutine: a ``concurrent.futures.Future`` with two differences.

    ``cancel()`` reaches the running task; it asks and does not wait, so the future is cancelled
    only when the task has ended so. And waiting for it on its own loop raises.
    """

    def __init__(self, call: SpawnedCall[T]) -> None:
        super().__init__()
        self._call = call
        self._born = generation()

    def cancel(self) -> bool:
        """Ask the task to end; ``False`` if it already has."""
        if self.done():
            return False
        try:
            self._call.host.loop.call_soon_threadsafe(self._call.cancel)
        except RuntimeError:
            return False  # the loop is closed, and the task ended with it
        return True

    def result(self, timeout: float | None = None) -> T:
        """Wait for the task's result.

        :raises LoopBlocked: Called on the loop that has to run the task.
        :raises ExecutorError: It had not ended when this process was forked from the task's.
        """
        check_process(self, self._born)
        self._refuse_on_the_loop()
        return managed_block(partial(super().result, timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task's end, and give its exception if there is one.

        :raises LoopBlocked: Called on the loop that has to run the task.
        :raises ExecutorError: It had not ended when this process was forked from the task's.
        """
        check_process(self, self._born)
        self._refuse_on_the_loop()
        return managed_block(partial(super().exception, timeout))

    def set_cancelled(self) -> None:
        """Note that the task ended by cancellation."""
        super().cancel()
        self.set_running_or_notify_cancel()

    def _refuse_on_the_loop(self) -> None:
        if not self.done() and self._call.host.is_current_thread():
            raise LoopBlocked(blocked_message(self._call.name, "await asyncio.wrap_future(task)"))


def blocked_message(name: str, instead: str) -> str:
    """Say why ``name`` cannot be waited for here, and what to write instead."""
    return (
        f"{name!r} would be waited for on the very event loop that has to run it, for ever. "
        f"Write '{instead}' there, or take the blocking code off the loop: "
        "'await concurrency.threads.run(function)'."
    )
