"""Run a coroutine as a task of an event loop, and settle a future that any thread may read.

Knows neither what group the coroutine belongs to nor who waits for it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import nullcontext, suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.signal_safe_future import SignalSafeFuture
from flask_concurrency.executors.waiting import loop_here
from flask_concurrency.runtime.deadline import current_deadline
from flask_concurrency.vocabulary.errors import ExecutorShutdown

T = TypeVar("T")


class CoroutineFuture(SignalSafeFuture[T]):
    """The future of a coroutine that runs on a loop. ``cancel()`` asks its task to end.

    The coroutine has the deadline of the caller that made this, whatever loop it runs on.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        super().__init__()
        self._coroutine = coroutine
        self._name = name
        self._deadline = current_deadline()
        self._asked_to_end = False
        self._end_task: Callable[[], object] | None = None

    def start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start on a running loop, from any thread.

        :raises ExecutorShutdown: The loop is closed.
        """
        context = copy_context()

        def start() -> None:
            task = loop.create_task(self._run(), name=self._name, context=context)
            task.add_done_callback(self._task_ended)
            self._can_end_by(partial(loop.call_soon_threadsafe, task.cancel))

        if loop is loop_here():
            start()
            return
        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError as error:
            self._coroutine.close()  # never to be awaited, and it would warn of that
            raise ExecutorShutdown(
                f"{self._name!r} refused: the event loop of its group is closed."
            ) from error

    def start_in(self, loop: LoopThread) -> None:
        """Start on a loop that has a thread of its own.

        :raises ExecutorShutdown: The loop was shut down.
        """
        try:
            background = loop.spawn(self._run(), name=self._name)
        except BaseException:
            self._coroutine.close()
            raise
        background.add_done_callback(self._task_ended)
        self._can_end_by(background.cancel)

    def cancel(self) -> bool:
        """Ask the task to end; ``False`` if it has ended."""
        if self.done():
            return self.cancelled()
        self._asked_to_end = True
        if self._end_task is not None:
            with suppress(RuntimeError):  # the loop is closed, and the task ended with it
                self._end_task()
        return True

    def _can_end_by(self, end_task: Callable[[], object]) -> None:
        self._end_task = end_task
        if self._asked_to_end:  # before there was a task
            end_task()

    async def _run(self) -> None:
        deadline = self._deadline
        try:
            with nullcontext() if deadline is None else deadline:
                result = await self._coroutine
        except asyncio.CancelledError:
            raise  # reported by :meth:`_task_ended`, which is called even if this never began
        except BaseException as error:
            # All of them stop here: asyncio lets SystemExit end the loop, which all requests share.
            self._settle(error)
        else:
            with suppress(InvalidStateError):
                self.set_result(result)

    def _task_ended(self, task: asyncio.Task[None] | Future[None]) -> None:
        """End this future if its coroutine could not: it was cancelled, or its loop was stopped."""
        if self.done():
            return
        if inspect.getcoroutinestate(self._coroutine) == inspect.CORO_CREATED:
            self._coroutine.close()
        if task.cancelled():
            if super().cancel():
                self.set_running_or_notify_cancel()
        elif (error := task.exception()) is not None:
            self._settle(error)

    def _settle(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.set_exception(error)
