"""Make the executors of one app, from its settings. Starts none: each starts at its first task.

Knows what of Flask a task takes along; knows no request and no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from flask import Flask

from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.named_executors import Meaning, NamedExecutors
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.async_body import async_to_sync
from flask_concurrency.flask_app.settings import PREFIX, Settings
from flask_concurrency.flask_app.task_context import FlaskCarrier
from flask_concurrency.flask_app.worker_app import WorkerApp
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class AppExecutors:
    """Where the work of one app runs.

    :ivar threads: One bounded pool of threads; it also serves the loop's ``asyncio.to_thread``.
    :ivar sockets: Threads of WebSockets, which keep them for long; apart, so that any number of
        those leaves :attr:`threads` to requests.
    :ivar processes: One warm pool of worker processes.
    :ivar loop: One event loop, on which the app's ``async`` views, hooks and handlers run.
    :ivar named: These and any others, by name.
    """

    threads: ThreadExecutor
    sockets: ThreadExecutor
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
        for executor in (self.threads, self.processes):
            executor.drain(max(0.0, until - monotonic()))


def make_executors(app: Flask, settings: Settings, *, added: Mapping[str, Meaning]) -> AppExecutors:
    """Make an app's executors, and send its ``async`` functions to the shared loop.

    :param added: Names of further executors; later additions are seen.
    :raises ConfigurationError: ``THREADS`` or ``PROCESSES`` holds a wrong option.
    """
    carry = FlaskCarrier(app)
    drain = {"drain_timeout": settings.drain_timeout}
    threads = _made("THREADS", ThreadExecutor, {**drain, **settings.threads}, carry=carry)
    sockets = ThreadExecutor(
        settings.websocket_threads,
        max_queue=0,
        when_full="wait",
        drain_timeout=5.0,
        name="websockets",
    )
    processes = _made("PROCESSES", partial(_make_processes, app), {**drain, **settings.processes})
    loop = LoopThread(
        default_executor=threads,
        drain_timeout=min(5.0, settings.drain_timeout),
        stands_still=lambda: settings.stands_still(app.debug),
    )
    # Flask's documented way to choose what runs its async functions.
    app.async_to_sync = async_to_sync(loop, threads)  # type: ignore[method-assign, assignment]
    named = NamedExecutors(
        {"threads": threads, "processes": processes},
        added=added,
        configured=settings.executors,
        carry=carry,
    )
    return AppExecutors(threads, sockets, processes, loop, named)


def _make_processes(app: Flask, /, **options: Any) -> ProcessExecutor:
    named = options.pop("app", "")
    if named is not None:
        options.setdefault("around", WorkerApp(app, named or None))
    return ProcessExecutor(**options)


def _made(key: str, make: Callable[..., E], options: Mapping[str, Any], **ours: Any) -> E:
    try:
        return make(**ours, **options)
    except (TypeError, ConfigurationError) as error:
        raise ConfigurationError(f"{PREFIX}{key} = {dict(options)!r}: {error}") from None
