"""Let an asynchronous view answer with an asynchronous generator, or with one that blocks.

Knows responses and where their bodies are read; knows no server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

from flask import Response, has_request_context, request
from greenlet import getcurrent

from flask_concurrency.asgi.environ import PORTABLE
from flask_concurrency.asgi.file_pieces import WholeFile
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.loop.call import awaited
from flask_concurrency.executors.loop.own_loop import run_on_own_loop
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.work.body_threads import steps_of
from flask_concurrency.runtime.greenlet_bridge import can_suspend, suspend

P = ParamSpec("P")
T = TypeVar("T")

_END: Any = object()


class AsyncBody(Iterator[Any]):
    """An asynchronous iterator that plain code reads, on the loop or in any thread.

    :ivar source: Gives the items.
    :param loop: Where it runs.
    """

    __slots__ = ("_loop", "source")

    def __init__(self, source: AsyncIterator[Any], loop: LoopThread) -> None:
        self.source = source
        self._loop = loop

    def __next__(self) -> Any:
        """The next item, waited for as the reader can."""
        item = self._loop.run(_next_of(self.source))
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Run what the generator does at its end."""
        close = getattr(self.source, "aclose", None)
        if close is not None:
            self._loop.run(_awaiting(close()))


class BlockingBody(Iterator[Any], WholeFile):
    """An iterator that may block, each step of which runs in a thread.

    The steps have the context of the request, so that a generator finds it as it left it.

    :param source: Gives the items.
    :param threads: Those of bodies.
    """

    def __init__(self, source: Any, threads: ThreadExecutor) -> None:
        self._source = source
        self._items: Iterator[Any] | None = None
        self._steps = steps_of(source, threads)

    def __next__(self) -> Any:
        """The next item, from a thread if this is the loop."""
        item = self._in_thread(self._step)
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        """Close the iterator, if it can be closed."""
        close = getattr(self._source, "close", None)
        try:
            if close is not None:
                self._in_thread(close)
        finally:
            self._steps.end()

    def path(self, length: int) -> str | None:
        """That of the file which it is, if it is one."""
        return self._source.path(length) if isinstance(self._source, WholeFile) else None

    def _step(self) -> Any:
        if self._items is None:
            self._items = iter(self._source)
        return next(self._items, _END)

    def _in_thread(self, fn: Callable[[], Any]) -> Any:
        if not can_suspend():
            return fn()
        context = getcurrent().gr_context
        assert context is not None
        return suspend(self._steps.run(context, fn))


class OnSharedLoop:
    """What Flask runs its asynchronous functions by, as ``app.async_to_sync``.

    :param loop: Where they run.
    :param bodies: Where blocking bodies of their responses are read.
    :param runs_as_in_flask: Whether the current request's run on a loop of their own instead.
    :param on_shared_loop: Called before the first one that runs on ``loop``.
    """

    def __init__(
        self,
        loop: LoopThread,
        bodies: ThreadExecutor,
        *,
        runs_as_in_flask: Callable[[], bool],
        on_shared_loop: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._bodies = bodies
        self._runs_as_in_flask = runs_as_in_flask
        self._on_shared_loop: Callable[[], object] | None = on_shared_loop

    def __call__(self, function: Callable[P, Coroutine[Any, Any, Any]]) -> Callable[P, Any]:
        """Make a plain function of an asynchronous one."""

        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            if self._runs_as_in_flask():
                value = run_on_own_loop(function(*args, **kwargs))
            else:
                self._begin()
                value = self._loop.run(function(*args, **kwargs))
            return readable(value, self._loop, self._bodies)

        # Not ``functools.wraps``: Flask asks for one in every request, and calls it at once.
        run.__name__ = getattr(function, "__name__", run.__name__)
        run.__wrapped__ = function  # type: ignore[attr-defined]
        return run

    async def call(
        self, function: Callable[..., Coroutine[Any, Any, Any]], arguments: dict[str, Any]
    ) -> Any:
        """Do the same where it can be awaited: on the loop, for a request that runs there."""
        self._begin()
        value = await awaited(function(**arguments))
        return readable(value, self._loop, self._bodies)

    def _begin(self) -> None:
        if self._on_shared_loop is not None:
            begin, self._on_shared_loop = self._on_shared_loop, None
            begin()


def readable(value: Any, loop: LoopThread, bodies: ThreadExecutor) -> Any:
    """What an asynchronous view returned, with a body that can be read wherever it is read.

    :param value: Anything a view returns.
    """
    kind = type(value)
    if kind is str or kind is dict or kind is list:
        return value  # asked of nearly every view, and the classes below take long to tell
    if isinstance(value, Response):
        if not value.is_sequence:
            value.response = _readable_body(value.response, loop, bodies)
        return value
    if isinstance(value, tuple) and value:
        return (readable(value[0], loop, bodies), *value[1:])
    if isinstance(value, AsyncIterator | Iterator):
        return _readable_body(value, loop, bodies)
    return value


def _readable_body(body: Any, loop: LoopThread, bodies: ThreadExecutor) -> Any:
    if isinstance(body, AsyncIterator):
        if has_request_context():
            request.environ[PORTABLE] = True
        return AsyncBody(body, loop)
    if can_suspend() and not isinstance(body, AsyncBody | BlockingBody):
        return BlockingBody(body, bodies)
    return body


async def _next_of(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable
