"""Let an asynchronous view answer with an asynchronous generator, or with one that blocks.

Knows responses and where their bodies are read; knows no server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from flask import Response, has_request_context, request
from greenlet import getcurrent

from flask_concurrency.asgi.environ import PORTABLE
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.loop.own_loop import run_on_own_loop
from flask_concurrency.executors.own_context import OwnContext
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.greenlet_bridge import can_suspend, suspend, until_done

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()


class AsyncBody(Iterator[Any]):
    """An asynchronous iterator that plain code reads, on the loop or in any thread.

    :param source: Gives the items.
    :param loop: Where it runs.
    """

    def __init__(self, source: AsyncIterator[Any], loop: LoopThread) -> None:
        self._source = source
        self._loop = loop

    def __next__(self) -> Any:
        """The next item, waited for as the reader can."""
        item = self._loop.run(_next_of(self._source))
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Run what the generator does at its end."""
        close = getattr(self._source, "aclose", None)
        if close is not None:
            self._loop.run(_awaiting(close()))


class BlockingBody(Iterator[Any]):
    """An iterator that may block, each step of which runs in a thread.

    The steps have the context of the request, so that a generator finds it as it left it.

    :param source: Gives the items.
    """

    def __init__(self, source: Any, threads: ThreadExecutor) -> None:
        self._source = source
        self._items = iter(source)
        self._threads = threads

    def __next__(self) -> Any:
        """The next item, from a thread if this is the loop."""
        if not can_suspend():
            return next(self._items)
        item = self._in_thread(next, self._items, _END)
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Close the iterator, if it can be closed."""
        close = getattr(self._source, "close", None)
        if close is None:
            return
        if can_suspend():
            self._in_thread(close)
        else:
            close()

    def _in_thread(self, fn: Callable[..., Any], *args: Any) -> Any:
        context = getcurrent().gr_context
        assert context is not None
        return suspend(_to_its_end(self._threads.submit_in(OwnContext(context), fn, *args)))


def async_to_sync(
    loop: LoopThread,
    threads: ThreadExecutor,
    *,
    runs_as_in_flask: Callable[[], bool],
    on_shared_loop: Callable[[], object],
) -> Callable[[Callable[P, Coroutine[Any, Any, Any]]], Callable[P, Any]]:
    """Make what Flask runs its asynchronous functions by.

    :param loop: Where they run.
    :param threads: Where blocking bodies of their responses are read.
    :param runs_as_in_flask: Whether the current request's run on a loop of their own instead.
    :param on_shared_loop: Called before the first one that runs on ``loop``.
    """
    first = True

    def decorate(function: Callable[P, Coroutine[Any, Any, Any]]) -> Callable[P, Any]:
        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            nonlocal first
            if runs_as_in_flask():
                return readable(run_on_own_loop(function(*args, **kwargs)), loop, threads)
            if first:
                first = False
                on_shared_loop()
            return readable(loop.run(function(*args, **kwargs)), loop, threads)

        # Not ``functools.wraps``: Flask asks for one in every request, and calls it at once.
        run.__name__ = getattr(function, "__name__", run.__name__)
        run.__wrapped__ = function  # type: ignore[attr-defined]
        return run

    return decorate


def readable(value: Any, loop: LoopThread, threads: ThreadExecutor) -> Any:
    """What an asynchronous view returned, with a body that can be read wherever it is read.

    :param value: Anything a view returns.
    """
    if isinstance(value, Response):
        if not value.is_sequence:
            value.response = _readable_body(value.response, loop, threads)
        return value
    if isinstance(value, tuple) and value:
        return (readable(value[0], loop, threads), *value[1:])
    if isinstance(value, AsyncIterator | Iterator):
        return _readable_body(value, loop, threads)
    return value


def _readable_body(body: Any, loop: LoopThread, threads: ThreadExecutor) -> Any:
    if isinstance(body, AsyncIterator):
        if has_request_context():
            request.environ[PORTABLE] = True
        return AsyncBody(body, loop)
    if can_suspend() and not isinstance(body, AsyncBody | BlockingBody):
        return BlockingBody(body, threads)
    return body


async def _to_its_end(step: Future[T]) -> T:
    """Wait for a step that cannot be stopped, since it runs in a thread.

    Until it has ended its generator cannot be closed, nor the request's context be used; so a
    cancellation takes effect only then.
    """
    waiting = asyncio.wrap_future(step)
    cancelled = await until_done(waiting)
    if cancelled is None:
        return waiting.result()
    waiting.exception()  # asked for, or asyncio would tell of it
    raise cancelled


async def _next_of(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable
