"""Decide how code waits for a task, and where it must not.

That is on an event loop that serves requests, and in a child forked from the task's process. Knows
no executor: a task is a future here, and a loop that serves requests is one that was registered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import FINISHED
from math import inf
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from flask_concurrency.executors.signal_safe_future import SignalSafeFuture
from flask_concurrency.runtime.forks import generation
from flask_concurrency.runtime.greenlet_bridge import can_suspend
from flask_concurrency.runtime.wakeup import WakeUp
from flask_concurrency.vocabulary.errors import ExecutorError, LoopBlocked

T = TypeVar("T")


class Serving(Protocol):
    """What runs the coroutines of many requests on one loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def is_current_thread(self) -> bool: ...


_serving: WeakSet[Any] = WeakSet()


def register_serving_loop(host: Serving) -> None:
    """Have waits on a loop refused from now on where they would block all requests on it."""
    _serving.add(host)


def loop_here() -> asyncio.AbstractEventLoop | None:
    """The event loop that the calling code runs on, if it does."""
    loop = asyncio._get_running_loop()
    if loop is None:
        return None
    host = _host_of(loop)
    # Where gevent has made threads greenlets, asyncio shows one's loop to all of them.
    return loop if host is None or host.is_current_thread() else None


def wait_on_loop(future: Future[Any], timeout: float | None) -> bool:
    """Wait as code on an event loop can, and return whether that is over.

    Where it can be suspended, it is, until the future is done or ``timeout`` seconds have passed.
    ``False`` where it may block: in any thread, and on a loop that serves no requests.

    :raises LoopBlocked: Every request on this loop would wait, too.
    """
    loop = loop_here()
    if loop is None or future.done():
        return False
    if can_suspend():
        suspend_until_done(future, timeout)
        return True
    if _host_of(loop) is not None:
        raise LoopBlocked(
            "The result of a task would be waited for on an event loop, which stands still "
            "meanwhile, and every request on it. Write 'await asyncio.wrap_future(future)' there, "
            "or 'await concurrency.threads.run(function)' in place of submit(function).result()."
        )
    return False


def holds_requests_up() -> bool:
    """Whether to block here would make every request on an event loop wait."""
    loop = loop_here()
    return loop is not None and not can_suspend() and _host_of(loop) is not None


def _host_of(loop: asyncio.AbstractEventLoop) -> Serving | None:
    return next((host for host in tuple(_serving) if host.loop is loop), None)


def suspend_until_done(future: Future[Any], timeout: float | None) -> None:
    """Be suspended until a future is done or ``timeout`` seconds have passed."""
    ended = WakeUp()
    future.add_done_callback(lambda _: ended.set())
    ended.wait(inf if timeout is None else timeout)


def check_process(future: Future[Any], born: int) -> None:
    """Refuse to wait for a task that cannot end in this process.

    :param born: The :func:`generation` in which it was submitted.
    :raises ExecutorError: That was before this process was forked, and it has not ended.
    """
    if born != generation() and not future.done():
        raise ExecutorError(
            "This task belongs to the process that this one was forked from, and its result goes "
            "there. Submit it again in this process."
        )


class Waiters(Protocol):
    """Learns which threads wait by ``concurrent.futures.wait`` and ``as_completed``."""

    def add_waiter(self, waiter: object) -> None: ...

    def remove_waiter(self, waiter: object) -> None: ...


class _WaiterList(list[Any]):
    """The waiters of one future, each of which is made known."""

    def __init__(self, known_to: Waiters) -> None:
        super().__init__()
        self._known_to = known_to

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        self._known_to.add_waiter(waiter)

    def remove(self, waiter: Any) -> None:
        super().remove(waiter)
        self._known_to.remove_waiter(waiter)


class TaskFuture(SignalSafeFuture[T]):
    """A ``Future`` in everything, except that two ways to wait for it are refused.

    It never stops a loop that serves. And it does not wait for ever in a forked child, where the
    parent's tasks do not end.

    :ivar run_here: Runs the task in the thread that waits for it, if that is one of its pool's and
        none has taken the task up; ``None`` where there is no need.
    """

    run_here: Callable[[], object] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._born = generation()

    def compensate_for_waiters(self, known_to: Waiters) -> None:
        """Make waiters known that wait for this future by other means than its own methods."""
        # ``wait`` and ``as_completed`` look at nothing else of a future.
        self._waiters = _WaiterList(known_to)

    def result(self, timeout: float | None = None) -> T:
        """What the task returned; raises what it raised.

        :raises LoopBlocked: It has not ended, and an event loop would stand still meanwhile.
        :raises ExecutorError: It had not ended when this process was forked from the task's.
        """
        try:
            if self._state != FINISHED and self._wait_otherwise(timeout):
                timeout = 0
            return super().result(timeout)
        finally:
            self = None  # type: ignore[assignment] # no cycle of exception, traceback and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, ``None`` if it returned.

        :raises LoopBlocked: It has not ended, and an event loop would stand still meanwhile.
        :raises ExecutorError: It had not ended when this process was forked from the task's.
        """
        if self._state != FINISHED and self._wait_otherwise(timeout):
            timeout = 0
        return super().exception(timeout)

    def _wait_otherwise(self, timeout: float | None) -> bool:
        """Wait as the caller must, and return whether that is over."""
        if self.run_here is not None:
            run_here, self.run_here = self.run_here, None
            if run_here is not None:
                run_here()
        check_process(self, self._born)
        # To ask first saves what it takes to find out that a thread has no loop.
        return asyncio._get_running_loop() is not None and wait_on_loop(self, timeout)
