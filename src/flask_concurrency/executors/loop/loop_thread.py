"""Decide which event loop a process's coroutines run on: one, on one thread, made at first use.

Knows no Flask: the application installs :meth:`LoopThread.async_to_sync`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import importlib.util
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from dataclasses import dataclass
from typing import Any, NoReturn, ParamSpec, TypeVar

from flask_concurrency.executors.loop.background import (
    BackgroundTask,
    SpawnedCall,
    blocked_message,
)
from flask_concurrency.executors.loop.borrowed import BorrowedLoop
from flask_concurrency.executors.loop.call import WaitingCall, awaited, logger, name_of
from flask_concurrency.executors.loop.greenlets import make_loop
from flask_concurrency.executors.loop.lifetime import (
    CLOSES_WITHIN,
    Function,
    Lifetime,
    check_function,
)
from flask_concurrency.executors.loop.runner import LoopFactory, LoopRunner
from flask_concurrency.executors.loop.watchdog import Watchdog
from flask_concurrency.executors.task_end import OnTaskEnd
from flask_concurrency.runtime.at_exit import call_after_threads, call_before_threads
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.gevent_patch import refuse_late_patch, threads_are_greenlets
from flask_concurrency.runtime.greenlet_bridge import can_suspend, suspend
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    ExecutorError,
    ExecutorShutdown,
    LoopBlocked,
)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoopSnapshot:
    """What a :class:`LoopThread` was doing at one instant.

    :ivar alive: Its thread runs.
    :ivar waiting: Callers that wait for their coroutine.
    :ivar spawned: Background tasks that have not ended.
    :ivar tasks: All tasks on the loop, those that coroutines started themselves included.
    :ivar done: Calls that returned, since the loop started in this process.
    :ivar failed: Calls that raised.
    :ivar cancelled: Calls that were cancelled.
    :ivar lag: Seconds that the loop took lately to give a sign of life, if it was asked.
    """

    alive: bool = False
    waiting: int = 0
    spawned: int = 0
    tasks: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    lag: float = 0.0


def default_loop_factory() -> asyncio.AbstractEventLoop:
    """Make a loop of uvloop where that is installed, else of asyncio.

    Where gevent has replaced threads, it is asyncio's, and lets other greenlets run.
    """
    if threads_are_greenlets():
        return make_loop()
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    return loop


class LoopThread:
    """One event loop on one thread for a whole process, for code that is not asynchronous itself.

    Clients, pools and locks made on it in one call work in the next. Nothing is started before
    the first use; a forked child gets a thread and a loop of its own at its first use.

    :param default_executor: Where ``asyncio.to_thread`` and ``loop.run_in_executor(None, …)``
        run; it is lent, never shut down. ``None`` leaves asyncio its own pool.
    :param loop_factory: Makes the loop. Default :func:`default_loop_factory`.
    :param name: Name of the thread.
    :param drain_timeout: Seconds for which the end of the process waits for what was spawned.
    :param blocked_for: Gives the seconds for which a loop may be blocked before the function that
        blocks it is named in the log; ``None`` watches nothing. Asked whenever a loop begins.
    :param on_first_task: Called when the loop starts or is adopted, in a forked child again.
    :param on_task_end: Told how each call ended, on the thread of the loop.
    :ivar opening: The task of what :meth:`at_start` was given, on an adopted loop, until it ends.
    :raises ConfigurationError: ``default_executor`` is no ``concurrent.futures.Executor``.
    """

    def __init__(
        self,
        *,
        default_executor: Executor | None = None,
        loop_factory: LoopFactory = default_loop_factory,
        name: str = "concurrency-loop",
        drain_timeout: float = 5.0,
        blocked_for: Callable[[], float | None] = lambda: None,
        on_first_task: Callable[[], object] = lambda: None,
        on_task_end: OnTaskEnd | None = None,
    ) -> None:
        if default_executor is not None and not isinstance(default_executor, Executor):
            raise ConfigurationError(
                f"default_executor={default_executor!r} is no concurrent.futures.Executor. "
                "Pass one, such as concurrency.threads, or None."
            )
        self.name = name
        self.drain_timeout = drain_timeout
        self._default_executor = default_executor
        self._loop_factory = loop_factory
        self._blocked_for = blocked_for
        self._on_first_task = on_first_task
        self._on_task_end = on_task_end
        self._watchdog: Watchdog | None = None
        self._lock = threading.Lock()
        self._shut_down = False
        self._runner: LoopRunner | BorrowedLoop | None = None
        self._former: list[LoopRunner] = []
        self._lifetime = Lifetime()
        self.opening: asyncio.Task[None] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        _live.add(self)
        call_in_child(self, LoopThread._reset_after_fork)

    def __repr__(self) -> str:
        return f"<LoopThread {self.name!r} {self.snapshot()}>"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result.

        The caller's context variables are seen by the coroutine, and what it sets is seen by the
        caller afterwards. Code that runs on a loop itself but can be suspended, as that of a
        request on ASGI, is suspended meanwhile. An interrupted caller (``KeyboardInterrupt``,
        ``SystemExit``) cancels the task and gives it a second to clean up.

        :raises LoopBlocked: Called on the loop's own thread, which would wait for ever.
        :raises ExecutorShutdown: The loop was shut down, before or meanwhile.
        :raises ExecutorError: It cannot start: there is no thread for it.
        :raises DeadlineExceeded: The caller's deadline passed, and the coroutine was cancelled.
        :raises concurrent.futures.CancelledError: Something else cancelled the task.
        :raises Exception: What the coroutine raised.
        """
        runner = self._runner
        if can_suspend() and not (isinstance(runner, LoopRunner) and runner.is_current_thread()):
            return suspend(awaited(coroutine))
        runner = self._runner_for(coroutine)
        if runner.is_current_thread():
            _refuse(
                coroutine,
                LoopBlocked(
                    blocked_message(name_of(coroutine), f"await {name_of(coroutine)}(...)")
                ),
            )
        return WaitingCall(runner, coroutine).run()

    def async_to_sync(self, function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
        """Make a plain function of an asynchronous one, by :meth:`run`.

        Made for Flask's override point, ``app.async_to_sync = loop.async_to_sync``.
        """

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.run(function(*args, **kwargs))

        return run

    def adopt(self) -> None:
        """Make the running loop the one: of a server, which runs and ends it.

        Called on that loop, in each request; the first time does it. What runs on a thread's loop
        of ours already goes on there.
        """
        runner = self._runner
        if isinstance(runner, BorrowedLoop) and runner.loop is asyncio.get_running_loop():
            return
        with self._lock:
            if self._shut_down:
                return
            if isinstance(runner, LoopRunner):
                self._former.append(runner)
            self._runner = BorrowedLoop(self._default_executor)
            self._runner.on_task_end = self._on_task_end
            self._watch(self._runner.loop, threading.get_ident())
            if self._lifetime.opens:
                self.opening = self._runner.loop.create_task(
                    self._lifetime.begin(), name="open", context=Context()
                )

    def at_start(self, function: Function) -> Function:
        """Have an async function called when the loop starts, before anything runs on it.

        .. code-block:: python

            @concurrency.loop.at_start
            async def open_pool():
                app.extensions["pool"] = await asyncpg.create_pool(DSN)

        Each process has a loop of its own, so it is called in each, and again in a forked child. On
        a loop that runs already it is called at once. What it raises is logged.

        :raises TypeError: It is no async function.
        """
        check_function(function, "at_start")
        self._lifetime.opens.append(function)
        runner = self._runner
        if runner is not None and not runner.closing:
            self.spawn(_awaiting(function), name=function.__qualname__, context=Context())
        return function

    def at_end(self, function: Function) -> Function:
        """Have an async function called before the loop ends, once accepted work is finished.

        The last one given is called first; all of them get five seconds. It is called when the
        server or the process ends, on WSGI and on ASGI, and by :meth:`shutdown`. What it raises is
        logged.

        :raises TypeError: It is no async function.
        """
        check_function(function, "at_end")
        self._lifetime.closes.append(function)
        if self._runner is not None:
            call_before_threads(end_clients)
        return function

    async def end(self, seconds: float) -> None:
        """Call on an adopted loop what was given to :meth:`at_end`; the server's end does that.

        :param seconds: How long it may take.
        """
        if isinstance(self._runner, BorrowedLoop):
            await self._lifetime.end(seconds)

    async def drain(self, seconds: float) -> None:
        """Let what was started on an adopted loop finish, and cancel what does not; on that loop.

        :param seconds: How long it may take.
        """
        if isinstance(self._runner, BorrowedLoop):
            late = await self._runner.drain(seconds)
            if late:
                logger.warning("Cancelled, since the server ends: %s", ", ".join(late))

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> BackgroundTask[T]:
        """Start a coroutine that outlives its caller, and return at once.

        It runs until it ends, is cancelled, or the loop is shut down; it does not survive the
        process. If it fails, that is logged by ``flask_concurrency.loop``.

        :param name: Name of the task, in the log and in debuggers. Default: the coroutine's.
        :param context: Context variables it runs with. Default: a copy of the caller's.
        :raises ExecutorShutdown: The loop was shut down.
        :raises ExecutorError: It cannot start: there is no thread for it.
        """
        runner = self._runner_for(coroutine, name)
        # A copy, because a context that is entered elsewhere cannot be entered here.
        own = contextvars.copy_context() if context is None else context.copy()
        call = SpawnedCall(runner, coroutine, own, name)
        runner.submit(call)
        return call.future

    def shutdown(self, timeout: float = 5.0, *, drain: float = 0.0) -> bool:
        """Take no more work, end what is left, and stop the thread. A second call only waits.

        Callers whose coroutine does not finish get ``ExecutorShutdown``.

        :param timeout: Seconds to wait for cancelled tasks to end.
        :param drain: Seconds in which tasks may finish by themselves before they are cancelled.
        :returns: Whether everything ended in time; what did not is logged.
        :raises LoopBlocked: Called on the loop's own thread.
        """
        with self._lock:
            runner, first = self._runner, not self._shut_down
            for former in self._former:
                former.stop(drain)
            if runner is not None and runner.is_current_thread():
                raise LoopBlocked(blocked_message("shutdown", "await asyncio.to_thread(shutdown)"))
            self._shut_down = True
            if runner is None:
                return True
            if first:
                runner.stop(drain)
        if runner.join(timeout + drain + (CLOSES_WITHIN if self._lifetime.closes else 0.0)):
            return True
        logger.error("Did not end within %s s of shutdown: %s", timeout, runner.give_up())
        return False

    def ask_for_sign(self) -> None:
        """Ask a loop that runs for a sign of life; the next snapshot says how late it came."""
        runner = self._runner
        if runner is not None and runner.alive:
            runner.ask_for_sign()

    def snapshot(self) -> LoopSnapshot:
        """Return what the loop is doing. Starts nothing."""
        runner = self._runner
        if runner is None:
            return LoopSnapshot()
        calls = tuple(runner.calls)
        spawned = sum(isinstance(call, SpawnedCall) for call in calls)
        return LoopSnapshot(
            alive=runner.alive,
            waiting=len(calls) - spawned,
            spawned=spawned,
            tasks=len(asyncio.all_tasks(runner.loop)),
            done=runner.done,
            failed=runner.failed,
            cancelled=runner.cancelled,
            lag=round(runner.lag, 3),
        )

    def _runner_for(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> LoopRunner | BorrowedLoop:
        if not isinstance(coroutine, Coroutine):
            raise TypeError(
                f"{coroutine!r} is no coroutine. Call the asynchronous function: "
                "loop.run(fetch(url)), not loop.run(fetch)."
            )
        runner = self._runner
        if runner is not None and not runner.closing:
            return runner
        name = name or name_of(coroutine)
        try:
            refuse_late_patch()
            return self._start(name)
        except (ConfigurationError, ExecutorShutdown) as error:
            _refuse(coroutine, error)
        except (OSError, RuntimeError) as error:  # out of descriptors, or of threads
            _refuse(
                coroutine,
                ExecutorError(
                    f"{name!r} refused: the loop {self.name!r} cannot start: {error}. Raise the "
                    "limit of open files and threads of this process."
                ),
            )

    def _start(self, name: str) -> LoopRunner | BorrowedLoop:
        with self._lock:
            if self._shut_down:
                raise ExecutorShutdown(
                    f"{name!r} refused: the loop {self.name!r} was shut down. "
                    "Start work before the shutdown, or make another LoopThread."
                )
            # One that closes although it was not shut down has broken, and is replaced.
            if self._runner is None or self._runner.closing:
                # Not left to ``atexit``, which a child of ``multiprocessing`` does not run: that is
                # what some servers' workers are.
                call_after_threads(end_loops)
                if self._lifetime.closes:
                    call_before_threads(end_clients)
                self._runner = LoopRunner(
                    self.name, self._loop_factory, self._default_executor, self._lifetime
                )
                self._runner.on_task_end = self._on_task_end
                # The thread knows the runner only, so a forgotten application takes its loop along.
                self._finalizer = weakref.finalize(self, self._runner.stop)
                self._finalizer.atexit = False
                self._watch(self._runner.loop, self._runner.thread.ident or 0)
            return self._runner

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._on_first_task()
        if self._watchdog is not None:
            self._watchdog.stop()
        seconds = self._blocked_for()
        self._watchdog = None if seconds is None else Watchdog(loop, thread, seconds)

    def _reset_after_fork(self) -> None:
        """Reset in a forked child, where the parent's thread does not run."""
        self._lock = threading.Lock()
        if self._runner is None:
            return
        # Neither stopped nor closed nor collected: its selector and its wake-up socket are the
        # parent's too, and to unregister one here would make the parent's loop deaf.
        _inherited.append(self._runner)
        self._runner = None
        if self._finalizer is not None:
            self._finalizer.detach()


async def _awaiting(function: Callable[[], Awaitable[Any]]) -> None:
    await function()


_live: weakref.WeakSet[LoopThread] = weakref.WeakSet()
_inherited: list[LoopRunner | BorrowedLoop] = []


def _refuse(coroutine: Coroutine[Any, Any, Any], error: Exception) -> NoReturn:
    coroutine.close()  # never to be awaited, and it would warn of that
    raise error


def end_clients() -> None:
    """Call what was given to ``at_end``, on the loops of this process that are its own."""
    for loop in tuple(_live):
        runner = loop._runner
        if isinstance(runner, LoopRunner) and loop._lifetime.closes and not runner.closing:
            runner.finish(loop.drain_timeout)


def end_loops() -> None:
    """Shut all loops of this process down, within the time that each may take."""
    # The threads are daemons, which an exit would freeze in the middle of a ``finally``.
    for loop in tuple(_live):
        loop.shutdown(timeout=2.0, drain=loop.drain_timeout)
