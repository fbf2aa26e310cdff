"""Run calls on a bounded, shared set of threads, with the surroundings of their caller.

Knows no Flask: what a task takes along is its carrier's business.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import starmap
from typing import Any, ParamSpec, TypeVar

from flask_concurrency.executors.context import Captured, Carrier, capture_context
from flask_concurrency.executors.thread_crew import Crew, ThreadsSnapshot
from flask_concurrency.executors.thread_map import Call, Mapping
from flask_concurrency.executors.thread_task import Task
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

_executors: weakref.WeakSet[ThreadExecutor] = weakref.WeakSet()


class ThreadExecutor(Executor):
    """A thread pool for a server: bounded, shared by all requests, safe to use inside itself.

    A :class:`concurrent.futures.Executor` in every respect, so it works with ``wait``,
    ``as_completed``, ``loop.run_in_executor`` and as a ``with`` block. What it adds:

    * Threads start with the first tasks, and anew in a forked child.
    * The queue is bounded. A full one refuses, rather than turn overload into delay.
    * A task sees its caller's context variables; see ``carry``.
    * A task may submit tasks to its own executor and wait for them: those that find no free thread
      run at once, in the thread that submits them. Such a task must not need anything its parent
      does only after ``submit`` returns, such as letting go of a lock. What a task hands in by way
      of an event loop in another thread counts as coming from outside.
    * A cancelled or expired task never starts.

    :param max_workers: Threads at most; by default ``min(32, processors + 4)``, as in
        :class:`concurrent.futures.ThreadPoolExecutor`.
    :param max_queue: Tasks that may wait for a thread; ``0`` for none, ``None`` for any number.
    :param name: Names the threads, and the executor in messages.
    :param carry: Captures what each task takes along; the context variables by default.
    :param clock: Tells when a task has expired.
    :raises ConfigurationError: An option has an impossible value.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        max_queue: int | None = 1_000,
        name: str = "threads",
        carry: Carrier | None = None,
        clock: Clock = monotonic,
    ) -> None:
        if max_workers is None:
            max_workers = default_workers()
        _require_int("max_workers", max_workers, at_least=1, instead="None for the default")
        if max_queue is not None:
            _require_int("max_queue", max_queue, at_least=0, instead="None for no bound")
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"name={name!r} is no name. Give a text such as 'threads'.")
        if carry is not None and not callable(carry):
            raise ConfigurationError(
                f"carry={carry!r} cannot be called. Give a function that captures the caller's "
                "surroundings, or None for its context variables."
            )
        self._carry = carry if carry is not None else capture_context
        self._clock = clock
        self._take_crew(Crew(name, max_workers=max_workers, max_queue=max_queue, clock=clock))
        _executors.add(self)

    @property
    def name(self) -> str:
        """What the executor is called."""
        return self._crew.name

    @property
    def max_workers(self) -> int:
        """Threads at most."""
        return self._crew.max_workers

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` and return the future of its result.

        :raises QueueFull: ``max_queue`` tasks wait already. Never inside a task of this executor.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        future: Future[T] = Future()
        self._crew.submit(Task(future, self._carry(), fn, args, kwargs), future)
        return future

    def submit_in(
        self, captured: Captured, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Schedule a call in surroundings that were captured before, in place of the caller's.

        :raises QueueFull: ``max_queue`` tasks wait already. Never inside a task of this executor.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        future: Future[T] = Future()
        self._crew.submit(Task(future, captured, fn, args, kwargs), future)
        return future

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await ``fn(*args, **kwargs)`` from any running event loop.

        Cancelling takes the call out of the queue. One that runs already cannot be stopped: it
        runs on, and its result is lost.

        :raises QueueFull: ``max_queue`` tasks wait already.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        return await asyncio.wrap_future(self.submit(fn, *args, **kwargs))

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call ``fn`` with the items of the iterables, and yield the results in their order.

        The items are taken, and the first calls started, at once. A ``map`` holds at most
        ``max_workers`` places at a time, so it may be longer than the queue, and does not keep
        other requests waiting until it is through. The first error ends it: it is raised in place
        of its result, and calls not started are cancelled.

        :param timeout: Seconds, from now, until the last result must be there.
        :param chunksize: Without effect on threads.
        :param buffersize: Take items only as results are consumed, this many ahead.
        :raises QueueFull: The queue has no place for even one call.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        :raises TimeoutError: While consuming: ``timeout`` has passed.
        """
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end_at = None if timeout is None else timeout + monotonic()
        captured = self._carry()  # once: all calls of a map have the same caller

        def make(*args: Any) -> Call:
            future: Future[Any] = Future()
            return Task(future, captured, fn, args, {}), future

        calls = starmap(make, zip(*iterables, strict=False))
        return Mapping(self._crew, calls, buffersize).results(end_at, monotonic)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work. Closing twice does nothing more.

        :param wait: Return when all accepted work has ended. A task that closes its own executor
            does not wait for itself.
        :param cancel_futures: Cancel what has not started.
        """
        self._crew.shutdown(wait=wait, cancel_futures=cancel_futures)

    def snapshot(self) -> ThreadsSnapshot:
        """What the executor does now, and what became of its tasks in this process."""
        return self._crew.snapshot()

    def _take_crew(self, crew: Crew) -> None:
        self._crew = crew
        # An executor dropped without shutdown(), as with every app a test suite makes, sends its
        # threads home. At exit :mod:`thread_exit` does, before ``atexit`` would.
        self._finalizer = weakref.finalize(self, crew.retire)
        self._finalizer.atexit = False

    def _replace_crew_after_fork(self) -> None:
        deserted = self._crew
        self._finalizer.detach()
        self._take_crew(deserted.successor())
        deserted.desert()


def default_workers() -> int:
    """Threads at most, unless told otherwise.

    The formula of ``ThreadPoolExecutor`` since Python 3.8 (bpo-35279): some threads that wait for
    I/O even on one processor, and not hundreds on a machine with many.
    """
    count = getattr(os, "process_cpu_count", os.cpu_count)  # the former from Python 3.13 on
    return min(32, (count() or 1) + 4)


def _require_int(option: str, value: object, *, at_least: int, instead: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(
            f"{option}={value!r} is no whole number of {at_least} or more. Give one, or {instead}."
        )


def _replace_crews() -> None:
    for executor in list(_executors):
        executor._replace_crew_after_fork()


if hasattr(os, "register_at_fork"):
    # A child has its parent's queue and not its threads: what it submitted would never run.
    os.register_at_fork(after_in_child=_replace_crews)
