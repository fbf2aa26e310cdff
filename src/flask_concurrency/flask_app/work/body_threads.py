"""Decide on which thread each step of a blocking body runs that is read on an event loop.

A generator may hold what belongs to one thread, such as a SQLite connection: all its steps run on
the same one, which does nothing else until it is closed. Files are read on whichever is free.
Neither waits for the threads of requests. Knows no server.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

from werkzeug.wsgi import FileWrapper

from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.greenlet_bridge import until_done

T = TypeVar("T")

BODY_THREADS: Final = 100
"""Blocking bodies of async views that a process reads at once; further ones wait for one to end."""

_Calls = SimpleQueue["tuple[OwnContext, Callable[..., Any], tuple[Any, ...], Future[Any]] | None"]


class Steps(Protocol):
    """Runs the steps of one body."""

    async def run(self, context: Context, fn: Callable[..., T], *args: Any) -> T:
        """Call ``fn`` in a thread, with the context of the request, and wait for its end."""

    def end(self) -> None:
        """No step follows."""


def steps_of(body: object, threads: ThreadExecutor) -> Steps:
    """How the steps of ``body`` are run.

    :param threads: Those of bodies.
    """
    # Flask wraps a file once more to send a range of it.
    if isinstance(getattr(body, "iterable", body), FileWrapper):
        return AnyThread(threads)
    return OneThread(threads)


class AnyThread:
    """Runs each step on a thread that is free."""

    def __init__(self, threads: ThreadExecutor) -> None:
        self._threads = threads

    async def run(self, context: Context, fn: Callable[..., T], *args: Any) -> T:
        """Call ``fn`` in a thread, with the context of the request, and wait for its end."""
        return await _to_its_end(self._threads.submit_in(OwnContext(context), fn, *args))

    def end(self) -> None:
        """Do nothing: no thread is held."""


class OneThread:
    """Runs all steps on one thread, from the first one until :meth:`end`."""

    def __init__(self, threads: ThreadExecutor) -> None:
        self._threads = threads
        self._calls: _Calls | None = None

    async def run(self, context: Context, fn: Callable[..., T], *args: Any) -> T:
        """Call ``fn`` in the thread, with the context of the request, and wait for its end."""
        if self._calls is None:
            self._calls = SimpleQueue()
            # Should the body never be closed, its thread goes when it is collected.
            weakref.finalize(self, self._calls.put, None).atexit = False
            self._threads.submit_in(OwnContext(Context()), _serve, self._calls)
        step: Future[T] = Future()
        self._calls.put((OwnContext(context), fn, args, step))
        return await _to_its_end(step)

    def end(self) -> None:
        """Let the thread go."""
        if self._calls is not None:
            self._calls.put(None)
            self._calls = None


def _serve(calls: _Calls) -> None:
    """Make the calls of one body until there are no more."""
    while (call := calls.get()) is not None:
        in_context, fn, args, step = call
        try:
            step.set_result(in_context(fn, args, {}))
        except BaseException as error:
            step.set_exception(error)
        del call, in_context, fn, args, step  # they lead to the request


async def _to_its_end(step: Future[T]) -> T:
    """Wait for a step that cannot be stopped, since it runs in a thread.

    Until it has ended its generator cannot be closed, nor the request's context be used; so a
    cancellation takes effect only then.
    """
    waiting = asyncio.wrap_future(step)
    cancelled = await until_done(waiting)
    if cancelled is None:
        return waiting.result()
    waiting.exception()  # read, or asyncio would log it
    raise cancelled
