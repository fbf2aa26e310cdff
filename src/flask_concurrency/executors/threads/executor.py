"""Run calls on a bounded, shared set of threads, with the surroundings of their caller.

Knows no Flask: what a task takes along is its carrier's business.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from inspect import CO_COROUTINE
from typing import Any, ParamSpec, TypeVar

from flask_concurrency.executors.context import Captured, Carrier, capture_context
from flask_concurrency.executors.options import WhenFull, require_seconds
from flask_concurrency.executors.ordered_map import check_map_option
from flask_concurrency.executors.task_end import OnTaskEnd
from flask_concurrency.executors.threads.callback_task import Callback, CallbackTask
from flask_concurrency.executors.threads.future import SubmittedFuture
from flask_concurrency.executors.threads.options import (
    ThreadOptions,
    default_workers,
)
from flask_concurrency.executors.threads.pool import ThreadPool
from flask_concurrency.executors.threads.snapshot import ThreadsSnapshot
from flask_concurrency.executors.threads.task import Task
from flask_concurrency.executors.threads.thread_map import ThreadMap, calls_of
from flask_concurrency.executors.waiting import TaskFuture
from flask_concurrency.executors.waiting_line import Slot
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.timer_thread import Timekeeper, timekeeper
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")


class ThreadExecutor(Executor):
    """A thread pool for a server: bounded, shared by all requests, safe to use inside itself.

    A :class:`concurrent.futures.Executor` in every respect, so it works with ``wait``,
    ``as_completed``, ``loop.run_in_executor`` and as a ``with`` block. What it adds:

    * Threads start with the first tasks, and anew in a forked child. To wait there for a task of
      the parent raises ``ExecutorError``.
    * The queue is bounded. A full one refuses, rather than turn overload into delay, or has the
      caller wait.
    * A task sees its caller's context variables; see ``carry``.
    * A task's future is done at the caller's deadline at the latest, by ``DeadlineExceeded``. A
      cancelled or expired task never starts. One that runs cannot be stopped: it runs on, is
      counted as overdue, and logged when it ends.
    * A task may submit tasks to its own executor and wait for them, by whatever means of
      ``concurrent.futures``, although no thread is free: it runs them itself, or has another thread
      started in its place. They are queued as all others, so a chain of tasks, each of which
      submits the next, may be of any length.
    * A task may wait for a coroutine on the shared loop that needs a thread itself.
    * A failure that no caller reads is logged.

    :param max_workers: Threads at most; by default ``min(32, processors + 4)``, as in
        :class:`concurrent.futures.ThreadPoolExecutor`. Those that wait for the shared loop, or
        for tasks of their own, may each be stood in for by one more.
    :param max_queue: Tasks that may wait for a thread; ``0`` for none, ``None`` for any number.
    :param when_full: ``"refuse"`` raises ``QueueFull``; ``"wait"`` has the caller wait for a slot,
        until its deadline at the latest. An event loop's thread is never kept waiting: there
        :meth:`run` waits, and the rest refuses.
    :param drain_timeout: Seconds for which the end of the process waits for accepted tasks;
        ``None`` waits for all.
    :param name: Names the executor in messages, and the threads unless they have a prefix.
    :param thread_name_prefix: Begins the names of the threads.
    :param initializer: Called in each thread before its first task, with ``initargs``. If it
        raises, the pool takes no tasks any more: ``BrokenThreadPool``.
    :param carry: Captures what each task takes along; the context variables by default.
    :param on_first_task: Called when the first thread starts, in a forked child again.
    :param on_task_end: Told how each task ended.
    :param clock: Decides when a task has expired.
    :param timekeeper: Makes calls at instants of ``clock``.
    :raises ConfigurationError: An option has an impossible value.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        max_queue: int | None = 1_000,
        when_full: WhenFull = "refuse",
        drain_timeout: float | None = 30.0,
        name: str = "threads",
        thread_name_prefix: str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        carry: Carrier | None = None,
        on_first_task: Callable[[], object] = lambda: None,
        on_task_end: OnTaskEnd | None = None,
        clock: Clock = monotonic,
        timekeeper: Timekeeper = timekeeper,
    ) -> None:
        if carry is not None and not callable(carry):
            raise ConfigurationError(
                f"carry={carry!r} cannot be called. Give a function that captures the caller's "
                "surroundings, or None for its context variables."
            )
        options = ThreadOptions(
            max_workers=default_workers() if max_workers is None else max_workers,
            max_queue=max_queue,
            when_full=when_full,
            drain_timeout=drain_timeout,
            name=name,
            thread_name_prefix=thread_name_prefix,
            initializer=initializer,
            initargs=initargs,
            on_first_task=on_first_task,
            clock=clock,
            timekeeper=timekeeper,
            on_task_end=on_task_end,
        )
        self._carry = carry if carry is not None else capture_context
        self._use_pool(ThreadPool(options))
        call_in_child(self, ThreadExecutor._reset_after_fork)

    @property
    def name(self) -> str:
        """What the executor is called."""
        return self._pool.options.name

    @property
    def max_workers(self) -> int:
        """Threads at most."""
        return self._pool.options.max_workers

    @property
    def drain_timeout(self) -> float | None:
        """Seconds for which the end of the process waits for accepted tasks."""
        return self._pool.options.drain_timeout

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` and return the future of its result.

        :raises QueueFull: ``max_queue`` tasks wait already. Never inside a task of this executor.
        :raises DeadlineExceeded: With ``when_full="wait"``: there was no free slot in time.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        return self.submit_in(self._carry(), fn, *args, **kwargs)

    def submit_in(
        self, captured: Captured, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Schedule a call in surroundings that were captured before, in place of the caller's.

        :raises QueueFull: ``max_queue`` tasks wait already. Never inside a task of this executor.
        :raises DeadlineExceeded: With ``when_full="wait"``: there was no free slot in time.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        if _is_async(fn):
            raise TypeError(_async_refused(fn))
        future: Future[T] = SubmittedFuture()
        task = Task(future, captured, fn, args, kwargs)
        del captured  # this frame may stay in a traceback, if the task runs right here
        place = self._pool.submit(task, future)
        if place is not None:
            _wait_for(place, future)
        return future

    def submit_with_callback(
        self, captured: Captured, fn: Callable[[], T], callback: Callback
    ) -> Callable[[], object]:
        """Schedule a call that has no future.

        :param captured: The context that it runs in.
        :param fn: What to call.
        :param callback: Called with its result or its error, in the thread that ends the call.
        :returns: Cancels the call if it has not started.
        :raises QueueFull: ``max_queue`` tasks wait already.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        task = CallbackTask(captured, fn, callback)
        self._pool.submit(task, None)
        return partial(self._pool.withdraw, task)

    def spawn(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call that may outlive the request, and that no caller has to wait for.

        It has the app, not the request: hand it what it needs as arguments. It has no deadline. If
        it fails, that is logged by ``flask_concurrency.executors``. The end of the process waits
        for it as for all tasks, ``drain_timeout`` seconds at most. It is not durable: a crash or a
        kill loses it. What must not be lost is a job (:meth:`flask_concurrency.Concurrency.job`).

        :raises QueueFull: ``max_queue`` tasks wait already.
        :raises DeadlineExceeded: With ``when_full="wait"``: there was no free slot in time.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        if _is_async(fn):
            raise TypeError(_async_refused(fn))
        future: TaskFuture[T] = TaskFuture()
        task = Task(future, self._carry().detached(), fn, args, kwargs)
        place = self._pool.spawn(task, future)
        if place is not None:
            _wait_for(place, future)
        return future

    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await ``fn(*args, **kwargs)`` from any running event loop.

        Cancelling takes the call out of the queue. One that runs already cannot be stopped: it
        runs on, and its result is lost.

        :raises QueueFull: ``max_queue`` tasks wait already.
        :raises DeadlineExceeded: The deadline has passed.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        """
        if _is_async(fn):
            raise TypeError(_async_refused(fn))
        future: Future[T] = Future()
        place = self._pool.submit(
            Task(future, self._carry(), fn, args, kwargs), future, awaits=True
        )
        if place is not None:
            try:
                await asyncio.wrap_future(place)
            except BaseException:
                future.cancel()
                raise
        return await asyncio.wrap_future(future)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call ``fn`` with the items of the iterables, and yield the results in their order.

        The items are taken, and the first calls started, at once. A ``map`` holds at most
        ``max_workers`` slots at a time, so it may be longer than the queue, and does not keep
        other requests waiting until it is through. The first error ends it: it is raised in place
        of its result, and calls not started are cancelled.

        :param timeout: Seconds, from now, until the last result must be there.
        :param chunksize: Without effect on threads.
        :param buffersize: Take items only as results are consumed, this many ahead.
        :raises QueueFull: The queue has no slot for even one call.
        :raises ExecutorShutdown: After :meth:`shutdown`.
        :raises TimeoutError: While consuming: ``timeout`` has passed.
        :raises DeadlineExceeded: While consuming, or waiting for a slot: the deadline has passed.
        """
        if _is_async(fn):
            raise TypeError(_async_refused(fn))
        check_map_option("buffersize", buffersize)
        captured = self._carry()
        calls = calls_of(captured, fn, iterables)
        mapped = ThreadMap(self._pool, calls, buffersize, captured.deadline)
        results = mapped.results(timeout)
        mapped.begin(sys.maxsize, 1)
        return results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work. Closing twice does nothing more.

        :param wait: Return when all accepted work has ended. A task that closes its own executor
            does not wait for itself.
        :param cancel_futures: Cancel what has not started.
        """
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def drain(self, timeout: float) -> list[str]:
        """Take no more work from outside, and wait for what was accepted.

        Tasks go on submitting to their own executor. What has not started after ``timeout`` is
        cancelled; what runs then, runs on.

        :param timeout: Seconds to wait at most.
        :returns: Names of the tasks that were left behind, which are also logged.
        """
        require_seconds("timeout", timeout, instead="use shutdown() to wait for all")
        return self._pool.drain(timeout)

    def snapshot(self) -> ThreadsSnapshot:
        """What the executor does now, and what became of its tasks in this process."""
        return self._pool.snapshot()

    def _use_pool(self, pool: ThreadPool) -> None:
        self._pool = pool
        # An executor dropped without shutdown(), as with every app a test suite makes, stops its
        # threads. At exit :mod:`at_exit` does, before ``atexit`` would.
        self._finalizer = weakref.finalize(self, pool.stop_when_idle)
        self._finalizer.atexit = False

    def _reset_after_fork(self) -> None:
        """Begin with an empty queue: what the parent submitted has no thread here to run it."""
        inherited = self._pool
        self._finalizer.detach()
        self._use_pool(inherited.replacement())
        inherited.reset_after_fork()


def _is_async(fn: Callable[..., Any]) -> bool:
    # ``inspect.iscoroutinefunction`` takes as long as a tenth of a task.
    code = getattr(fn, "__code__", None)
    return code is not None and bool(code.co_flags & CO_COROUTINE)


def _async_refused(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__name__", repr(fn))
    return (
        f"{name!r} is an async function, which threads do not run. Await it on the loop: "
        f"concurrency.loop.run({name}(...)), or concurrency.loop.spawn({name}(...))."
    )


def _wait_for(place: Slot, future: Future[Any]) -> None:
    try:
        place.result()
    except BaseException:
        future.cancel()  # it may stand anywhere now
        raise
