"""Decide how a coroutine gets onto the loop's thread, and how its end gets back to its caller.

Knows neither when that thread starts nor when it stops: ``runner.py`` does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from flask_concurrency.executors.loop import deadline as loop_deadline
from flask_concurrency.executors.loop.deadline import time_left
from flask_concurrency.runtime.deadline_messages import coroutine_cancelled
from flask_concurrency.runtime.greenlet_bridge import run_suspendable, suspend
from flask_concurrency.runtime.managed_blocking import managed_block
from flask_concurrency.vocabulary.errors import ExecutorShutdown
from flask_concurrency.vocabulary.safe_logger import SafeLogger

T = TypeVar("T")

logger = SafeLogger("flask_concurrency.loop")

LONGEST = threading.TIMEOUT_MAX
"""Seconds a lock can be waited for."""

_UNSET: Any = object()


class Host(Protocol):
    """What a call needs of the one that runs the loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def closing(self) -> bool: ...

    @property
    def drained(self) -> bool: ...

    def is_current_thread(self) -> bool: ...

    def submit(self, call: Call[Any]) -> None: ...

    def claim(self, call: Call[Any]) -> bool: ...

    def count(self, name: str, error: BaseException | None) -> None: ...


class Call(Generic[T]):
    """A coroutine on its way to the loop, its task there, and its end.

    It ends once: by its task, or by a refusal when the loop stops without it. The two may race;
    the one that claims the call from its host ends it.

    :ivar error: What it ended with, ``None`` if it returned ``result``.
    :ivar handled: The exception being handled where the call was made.
    :cvar holds_thread: Whether a thread waits for its end.
    """

    holds_thread = False
    __slots__ = ("context", "coroutine", "error", "handled", "host", "result", "task")

    def __init__(
        self,
        host: Host,
        coroutine: Coroutine[Any, Any, T],
        context: Context,
        handled: BaseException | None = None,
    ) -> None:
        self.host = host
        self.coroutine = coroutine
        self.context = context
        self.handled = handled
        self.task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self.result: T = _UNSET

    def start(self) -> None:
        """Make the task. Runs on the loop's thread."""
        if self.host.drained:
            self.refuse()
            return
        body: Any = self._run()
        body.__qualname__ = name_of(self.coroutine)  # what logs and debuggers show
        # The context is given as it is, not copied: what the coroutine sets is found in it.
        self.task = self.host.loop.create_task(body, context=self.context)
        self.task.add_done_callback(self._never_began)

    def cancel(self) -> None:
        """Cancel the task. Runs on the loop's thread, after :meth:`start`."""
        if self.task is not None:
            self.task.cancel()

    def refuse(self) -> None:
        """End the call without its task. Runs on any thread."""
        if self.host.claim(self):
            if self.task is None:
                self.coroutine.close()  # never begun: it would warn that it was never awaited
            self.error = ExecutorShutdown(shutdown_message(self.coroutine))
            self.ended()

    def ended(self) -> None:
        """Store ``error`` or ``result``. Called once, on any thread."""
        raise NotImplementedError

    async def _run(self) -> None:
        coroutine = self.coroutine
        if self.handled is not None:
            coroutine = _while_handling(self.handled, coroutine)
        try:
            self.result = await run_suspendable(
                partial(suspend, coroutine), self.context, holds_thread=self.holds_thread
            )
        except BaseException as error:
            # All of them stop here: asyncio lets SystemExit end the loop, which all requests share.
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # without this frame
            self.error = error
        # The caller is notified here and not by a callback, which would cost a turn of the loop.
        if self.task is not None:
            self.task.remove_done_callback(self._never_began)
        self._end()

    def _never_began(self, _: asyncio.Task[None]) -> None:
        """The task was cancelled before its first step, so :meth:`_run` saw nothing of it."""
        self.coroutine.close()
        self.error = asyncio.CancelledError()
        self._end()

    def _end(self) -> None:
        self.host.count(name_of(self.coroutine), self.error)
        if self.host.claim(self):
            self.ended()


class WaitingCall(Call[T]):
    """A call whose caller waits. Context variables are carried in, and back out at the end."""

    holds_thread = True
    __slots__ = ("abandoned", "done")

    def __init__(self, host: Host, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(host, coroutine, contextvars.copy_context(), sys.exception())
        self.abandoned = False
        # A bare lock, taken here and given back at the end: the leanest way to wait once.
        self.done = threading.Lock()
        self.done.acquire()

    def ended(self) -> None:
        lost = self.error if self.abandoned else None
        if lost is not None and not isinstance(lost, asyncio.CancelledError):
            logger.error("%r failed after its caller left", name_of(self.coroutine), exc_info=lost)
        self.done.release()

    def run(self) -> T:
        """Hand the call over, wait for its end, and return or raise what the coroutine did.

        :raises ExecutorShutdown: The loop was shut down first.
        :raises DeadlineExceeded: The caller's deadline came first, and the task was cancelled.
        :raises concurrent.futures.CancelledError: Something else cancelled the task.
        """
        seconds = time_left()
        try:
            self.host.submit(self)
            if seconds is None:
                managed_block(self.done.acquire)
            elif not managed_block(partial(self.done.acquire, True, min(seconds, LONGEST))):
                self._expire()
        except BaseException:
            self._interrupt()
            raise
        adopt(self.context)
        if self.error is None:
            return self.result
        try:
            raise self._translated(self.error)
        finally:
            # Kept, they would close the cycle error, traceback, this frame, call.
            self.error = self.handled = None

    def _translated(self, error: BaseException) -> BaseException:
        if not isinstance(error, asyncio.CancelledError):
            return error
        # No Exception, it would pass by every error handler and end a server's thread.
        translated = (
            ExecutorShutdown(shutdown_message(self.coroutine))
            if self.host.closing
            else was_cancelled(name_of(self.coroutine))
        )
        translated.__cause__ = error
        return translated

    def _expire(self) -> None:
        """The time is up: end the coroutine, and wait for that no longer than it may take."""
        error = coroutine_cancelled(name_of(self.coroutine))
        if not self._end_now():
            logger.error(
                "%r runs on after its deadline and a cancellation", name_of(self.coroutine)
            )
        raise error

    def _interrupt(self) -> None:
        """The caller must leave (Ctrl-C, a server's worker timeout): its coroutine goes first."""
        if not self.abandoned:
            self._end_now()

    def _end_now(self) -> bool:
        """Cancel the task, again if it swallows that, and return whether it has ended."""
        self.abandoned = True
        try:
            self.host.loop.call_soon_threadsafe(self.cancel)
            if not self.done.acquire(timeout=loop_deadline.CLEAN_UP):
                self.host.loop.call_soon_threadsafe(self.cancel)
                return self.done.acquire(timeout=loop_deadline.CLEAN_UP)
        except RuntimeError:
            pass  # the loop is closed, and the coroutine ended with it
        return True


async def awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine as :meth:`LoopThread.run` waits for it, where it can be awaited.

    :raises DeadlineExceeded: The caller's deadline passed, and the coroutine was cancelled.
    :raises concurrent.futures.CancelledError: Something else cancelled it, and not its task.
    :raises Exception: What the coroutine raised.
    """
    seconds = time_left()
    try:
        if seconds is None:
            return await coroutine
        return await loop_deadline.in_time(coroutine, seconds, name_of(coroutine))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # the caller itself is to end
        raise was_cancelled(name_of(coroutine)) from error


def name_of(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Name a coroutine as its author did."""
    name: str | None = getattr(coroutine, "__qualname__", None)
    return name or type(coroutine).__qualname__


def shutdown_message(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Say that ``coroutine`` came to nothing."""
    return f"{name_of(coroutine)!r} did not finish: its event loop was shut down."


def was_cancelled(name: str) -> concurrent.futures.CancelledError:
    """The error for the caller of a coroutine that something else has cancelled."""
    return concurrent.futures.CancelledError(
        f"{name!r} was cancelled while it ran on the event loop."
    )


async def _while_handling(error: BaseException, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine with ``error`` as the exception being handled.

    So ``logger.exception()`` in an asynchronous error handler finds what a synchronous one does.
    """
    traceback = error.__traceback__
    try:
        raise error
    except BaseException:
        error.__traceback__ = traceback  # this detour is no part of its story
        return await coroutine


def adopt(context: Context) -> None:
    """Set the caller's context variables to what they have become in ``context``."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)
