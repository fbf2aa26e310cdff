"""Let plain code wait for an awaitable without blocking the thread it shares with an event loop.

Knows no request and no particular loop: a coroutine drives each :class:`Suspendable`, and awaits
for it.

Plain code cannot ``await``. Where it runs in a :class:`Suspendable`, a greenlet with a stack of its
own, :func:`suspend` sets that stack aside and hands what an awaitable yields to the coroutine that
drives it, whose task passes it on to the loop. When the task is resumed, so is the stack. All in
between, coroutines included, is one task and one context to all code in it.

The technique is that of SQLAlchemy's asyncio extension
(https://docs.sqlalchemy.org/en/20/orm/extensions/asyncio.html).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextvars import Context
from functools import partial
from types import CoroutineType, coroutine
from typing import Any, Generic, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")


IDLE_STACKS = 64
"""Stacks that a thread keeps for its next functions. A new one costs as much as a quarter of a
small request, because memory for its frames is asked of the system and given back."""


class Suspendable(greenlet):
    """The stack on which functions run that may be suspended, one after the other.

    :ivar function: What runs on it; ``None`` once that has ended.
    :ivar result: What it returned.
    :ivar raised: What it raised instead.
    :ivar holds_thread: Whether a thread waits for its end.
    """

    holds_thread = False

    def __init__(self) -> None:
        super().__init__()
        self.function: Callable[[], Any] | None = None
        self.result: Any = None
        self.raised: BaseException | None = None

    def run(self) -> None:
        """What the stack does from its first switch to its end."""
        while True:
            assert self.function is not None
            try:
                self.result = self.function()
            except GreenletExit:
                raise  # it is collected, and must not be waited on
            except BaseException as error:
                self.raised = error
            finally:
                self.function = None
            self.parent.switch()  # type: ignore[union-attr]  # its driver's


class IdleStacks(threading.local):
    """The stacks of one thread that wait for a function; a stack never changes its thread."""

    def __init__(self) -> None:
        self.stacks: list[Suspendable] = []


idle = IdleStacks()


def run_suspendable(
    fn: Callable[[], T], context: Context, *, holds_thread: bool = False
) -> Awaitable[T]:
    """Give an awaitable that runs ``fn`` in a :class:`Suspendable`, and returns what it returns.

    A cancellation of the task that awaits it is raised in the function, where it is suspended.

    :param fn: The function, without arguments.
    :param context: The context variables it runs with. Another one than the task's keeps what it
        sets to itself.
    :param holds_thread: Whether a thread waits for the function's end.
    """
    return _Run(fn, context, holds_thread)


def stepwise(
    coroutine: Coroutine[Any, Any, T],
    context: Context,
    *,
    on_wait: Callable[[], object] | None = None,
) -> Awaitable[T]:
    """Give an awaitable that awaits ``coroutine``, the code of which may suspend itself anywhere.

    It runs in the task that awaits it. Each step, from where it waited to where it waits next, has
    a stack. That is set aside only while plain code waits; a coroutine that awaits takes none.

    :param context: The context variables it runs with.
    :param on_wait: Called before it waits for the first time.
    """
    return _Stepwise(coroutine, context, on_wait)


class _Run(Generic[T]):
    """One run of a function in a :class:`Suspendable`."""

    __slots__ = ("_context", "_fn", "_holds_thread")

    def __init__(self, fn: Callable[[], T], context: Context, holds_thread: bool) -> None:
        self._fn = fn
        self._context = context
        self._holds_thread = holds_thread

    def __await__(self) -> Generator[Any, Any, T]:
        fn, context = self._fn, self._context
        del self._fn, self._context
        return _on_a_stack(fn, context, holds_thread=self._holds_thread)


class _Stepwise(Generic[T]):
    """One coroutine, each step of which runs in a :class:`Suspendable`."""

    __slots__ = ("_context", "_coroutine", "_on_wait")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        context: Context,
        on_wait: Callable[[], object] | None,
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._on_wait = on_wait

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine, context, on_wait = self._coroutine, self._context, self._on_wait
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        while True:
            passed = yield from _on_a_stack(partial(_step, step, value), context, on_wait=on_wait)
            del step  # it need not be kept while the coroutine waits
            if type(passed) is _Ended:
                result: T = passed.result
                return result
            if on_wait is not None:
                on_wait()
                on_wait = None
            try:
                value = yield passed
            except BaseException as error:
                step, value = coroutine.throw, error
            else:
                step = coroutine.send


class _Ended:
    """What a coroutine returned."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


def _step(step: Callable[[Any], Any], value: Any) -> Any:
    """What a coroutine waits for next, or its end."""
    try:
        return step(value)
    except StopIteration as stop:
        return _Ended(stop.value)


def _on_a_stack(
    fn: Callable[[], T],
    context: Context,
    *,
    holds_thread: bool = False,
    on_wait: Callable[[], object] | None = None,
) -> Generator[Any, Any, T]:
    driver, stacks = getcurrent(), idle.stacks
    stack = stacks.pop() if stacks else Suspendable()
    if stack.parent is not driver:
        stack.parent = driver
    # Given, not entered: while the stack is set aside, its context is free, and another thread may
    # run a step of the same request in it.
    stack.gr_context = context
    stack.function = fn
    stack.holds_thread = holds_thread
    del fn, context
    passed: Any = stack.switch()
    if on_wait is not None and stack.function is not None:
        on_wait()
    while stack.function is not None:
        try:
            value = yield passed
        except BaseException as error:
            passed = stack.throw(error)
        else:
            passed = stack.switch(value)
    result: T = stack.result
    failure, stack.result, stack.raised = stack.raised, None, None
    if not stack.dead and len(stacks) < IDLE_STACKS:
        stack.gr_context = None
        stacks.append(stack)
    elif not stack.dead:
        stack.throw()  # its own frame refers to it, so that it would never be collected
    if failure is None:
        return result
    try:
        raise failure
    finally:
        del failure  # else its traceback would hold this frame, and this frame it


@coroutine
def in_context(coroutine: Coroutine[Any, Any, T], context: Context) -> Generator[Any, Any, T]:
    """Await a coroutine with other context variables, in the same task."""
    error: BaseException | None = None
    value: Any = None
    while True:
        try:
            if error is None:
                passed = context.run(coroutine.send, value)
            else:
                passed = context.run(coroutine.throw, error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            value = yield passed
        except BaseException as raised:
            error = raised
        else:
            error = None


def can_suspend() -> bool:
    """Whether :func:`suspend` may be called here."""
    return isinstance(getcurrent(), Suspendable)


def holds_thread() -> bool:
    """Whether a thread can do nothing else until this code has ended."""
    stack = getcurrent()
    return not isinstance(stack, Suspendable) or stack.holds_thread


def suspend(awaitable: Awaitable[T]) -> T:
    """Wait for an awaitable as ``await`` does; only where :func:`can_suspend`.

    :raises RuntimeError: This code is not driven by a coroutine.
    """
    known = type(awaitable) is CoroutineType or isinstance(awaitable, Coroutine)
    coroutine: Any = awaitable if known else _awaiting(awaitable)
    stack = getcurrent()
    if not isinstance(stack, Suspendable):
        coroutine.close()
        raise RuntimeError(
            f"{awaitable!r} cannot be waited for here: this code does not run on an event loop. "
            "Ask can_suspend() first."
        )
    driver = stack.parent
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            passed = step(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            # A bound method's name does not identify it; the driver is the ``_Run`` above.
            value = driver.switch(passed)  # type: ignore[union-attr]
        except BaseException as error:
            step, value = coroutine.throw, error
        else:
            step = coroutine.send


def in_thread(executor: Executor, fn: Callable[..., T], /, *args: Any) -> T:
    """Call a function that blocks in a thread of ``executor``; only where :func:`can_suspend`.

    A cancellation is kept until the call has ended, for calls that must not be interrupted. They
    should be short.
    """
    return suspend(_to_its_end(executor.submit(fn, *args)))


async def _to_its_end(future: Future[T]) -> T:
    waiting = asyncio.wrap_future(future)
    cancelled = await until_done(waiting)
    task = asyncio.current_task()
    if cancelled is not None and task is not None:
        task.uncancel()
        task.cancel()  # delivered where the code waits next
    return waiting.result()


async def until_done(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for what goes on whether or not it is waited for, such as a call in a thread.

    :returns: The cancellation that came meanwhile, for the caller to act on.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])  # which leaves alone what it waits for
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


async def _awaiting(awaitable: Awaitable[T]) -> T:
    return await awaitable
