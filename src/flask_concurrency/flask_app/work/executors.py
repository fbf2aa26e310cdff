"""Make the executors of one app, from its settings. Starts none: each starts at its first task.

Knows what of Flask a task takes along; knows no request and no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import Any, Final, TypeVar

from flask import Flask

from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.named_executors import NamedExecutors
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.task_end import OnTaskEnd
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.settings import PREFIX, Settings
from flask_concurrency.flask_app.work.async_body import OnSharedLoop
from flask_concurrency.flask_app.work.body_threads import BODY_THREADS
from flask_concurrency.flask_app.work.task_context import FlaskCarrier
from flask_concurrency.flask_app.work.thread_locals import warn_of_thread_locals
from flask_concurrency.flask_app.work.worker_app import WorkerApp
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.executor_names import Meaning

E = TypeVar("E")

_OURS: Final = ("task_context", "carry", "on_first_task", "on_task_end", "clock", "timekeeper")
"""Options of the executors that are not the configuration's."""
_THREADS: Final = tuple(name for name in signature(ThreadExecutor).parameters if name not in _OURS)
_PROCESSES: Final = tuple(
    name for name in ("app", *signature(ProcessExecutor).parameters) if name not in _OURS
)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class AppExecutors:
    """Where the work of one app runs.

    :ivar threads: One bounded pool of threads; it also serves the loop's ``asyncio.to_thread``.
    :ivar sockets: Threads of WebSockets, which keep them for long; apart, so that any number of
        those leaves :attr:`threads` to requests.
    :ivar bodies: Threads that read blocking bodies of async views on ASGI; apart, so that a file
        does not wait for requests.
    :ivar processes: One warm pool of worker processes.
    :ivar loop: One event loop, on which the app's ``async`` views, hooks and handlers run.
    :ivar named: These and any others, by name.
    """

    threads: ThreadExecutor
    sockets: ThreadExecutor
    bodies: ThreadExecutor
    processes: ProcessExecutor
    loop: LoopThread
    named: NamedExecutors

    def drain(self, timeout: float) -> None:
        """Take no more tasks for threads and processes, and wait for those that were taken.

        What is left then is logged, and ended where it can be.

        :param timeout: Seconds for all together.
        """
        until = monotonic() + timeout
        # In this order: a task on a thread may need a worker process.
        for executor in (self.threads, self.bodies, self.processes):
            executor.drain(max(0.0, until - monotonic()))


def make_executors(
    app: Flask,
    settings: Settings,
    *,
    added: Mapping[str, Meaning],
    on_first_task: Callable[[], object],
    on_task_end: Callable[[str], OnTaskEnd],
    worker_app: WorkerApp,
) -> AppExecutors:
    """Make an app's executors.

    :param added: Names of further executors; later additions are seen.
    :param on_first_task: Called at the first task of each of them, in each process.
    :param on_task_end: Gives what an executor of a name tells how each task ended.
    :param worker_app: Where worker processes find the app, unless ``PROCESSES`` says otherwise.
    :raises ConfigurationError: ``THREADS`` or ``PROCESSES`` holds a wrong option.
    """
    carry = FlaskCarrier(app)
    drain_timeout = settings.drain_timeout
    make_threads = partial(
        ThreadExecutor,
        carry=carry,
        drain_timeout=drain_timeout,
        on_first_task=on_first_task,
        on_task_end=on_task_end("threads"),
    )
    threads = _made("THREADS", make_threads, settings.threads, _THREADS)
    sockets = ThreadExecutor(
        settings.websocket_threads,
        max_queue=0,
        when_full="wait",
        drain_timeout=5.0,
        name="websockets",
    )
    bodies = ThreadExecutor(BODY_THREADS, max_queue=None, drain_timeout=5.0, name="bodies")
    make_processes = partial(
        _make_processes,
        app,
        worker_app,
        drain_timeout=drain_timeout,
        on_first_task=on_first_task,
        on_task_end=on_task_end("processes"),
    )
    processes = _made("PROCESSES", make_processes, settings.processes, _PROCESSES)
    loop = LoopThread(
        default_executor=threads,
        drain_timeout=min(5.0, settings.drain_timeout),
        blocked_for=lambda: settings.blocked_for(app.debug),
        on_first_task=on_first_task,
        on_task_end=on_task_end("loop"),
    )
    named = NamedExecutors(
        {"threads": threads, "processes": processes},
        added=added,
        configured=settings.executors,
        carry=carry,
        on_first_use=on_first_task,
        on_task_end=on_task_end,
    )
    return AppExecutors(threads, sockets, bodies, processes, loop, named)


def run_async(
    app: Flask, executors: AppExecutors, runs_as_in_flask: Callable[[], bool]
) -> OnSharedLoop:
    """Make what runs an app's ``async`` functions: on the shared loop, as a rule.

    :param runs_as_in_flask: Whether those of the current request run on a loop of their own.
    """
    return OnSharedLoop(
        executors.loop,
        executors.bodies,
        runs_as_in_flask=runs_as_in_flask,
        on_shared_loop=partial(warn_of_thread_locals, app.name),
    )


def _make_processes(app: Flask, worker_app: WorkerApp, /, **options: Any) -> ProcessExecutor:
    named = options.pop("app", "")
    if named is not None:
        options["task_context"] = WorkerApp(app, named) if named else worker_app
    return ProcessExecutor(**options)


def _made(
    key: str, make: Callable[..., E], options: Mapping[str, Any], known: Collection[str]
) -> E:
    written = f"{PREFIX}{key} = {dict(options)!r}"
    for option in options:
        if option not in known:
            raise ConfigurationError(f"{written}: {_unknown(option, known)}")
    try:
        return make(**options)
    except ConfigurationError as error:
        raise ConfigurationError(f"{written}: {error}") from None


def _unknown(option: object, known: Collection[str]) -> str:
    close = get_close_matches(str(option), known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(map(repr, known))}."
    return f"there is no option {option!r}. {hint}"
