"""Make the response that is a stream of events. Knows responses; how a stream lives, it does not.

:func:`flask_concurrency.streams.event_stream.BeatingAsync` and its siblings do.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextvars import copy_context
from math import inf
from typing import Any, Final

from flask import Response, current_app, request
from flask.json.provider import JSONProvider

from flask_concurrency.asgi.environ import PORTABLE
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.flask_app.work.async_body import AsyncBody
from flask_concurrency.runtime.drain import Drain, watch_signals
from flask_concurrency.streams.event_stream import Beating, BeatingAsync, ending
from flask_concurrency.streams.server_sent_events import encode

FIELDS: Final = {
    # What a cache or a proxy keeps back arrives too late, or never.
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}

Source = AsyncIterable[Any] | Iterable[Any] | Callable[[str | None], Any]


def event_response(
    source: Source,
    *,
    heartbeat: float | None,
    loop: LoopThread,
    drain: Drain,
    opened: Callable[[], Callable[[], None]],
) -> Response:
    """The response to a request for events.

    :param loop: Where asynchronous sources run.
    :param drain: Ends the stream.
    :param opened: Called once it is made; gives what to call when it is closed.
    :raises TypeError: ``source`` gives no events one after another.
    :raises ValueError: ``heartbeat`` is no time.
    """
    if heartbeat is not None and not 0 < heartbeat < inf:
        raise ValueError(f"heartbeat={heartbeat!r}: give seconds, more than 0, or None for none.")
    if callable(source):
        source = source(request.headers.get("Last-Event-ID"))
    watch_signals()
    spell = _Spelling(current_app.json)
    context = copy_context()
    if isinstance(source, AsyncIterable):
        events = BeatingAsync(
            aiter(source), spell, heartbeat=heartbeat, drain=drain, context=context
        )
        request.environ[PORTABLE] = True
        return _response(AsyncBody(events, loop), opened)
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | dict):
        raise TypeError(
            f"event_stream({source!r}): give a generator of events, an asynchronous one, or a "
            "function that makes one of the Last-Event-ID."
        )
    items = iter(source)
    if heartbeat is None:
        return _response(ending(items, spell, drain=drain, context=context), opened)
    body = Beating(items, spell, heartbeat=heartbeat, drain=drain, context=context)
    return _response(body, opened)


class _Spelling:
    """Spells the items of a stream, of which thousands may be open."""

    __slots__ = ("_json",)

    def __init__(self, json: JSONProvider) -> None:
        self._json = json

    def __call__(self, item: Any) -> bytes:
        return encode(item, self._json.dumps)


def _response(body: Iterable[bytes], opened: Callable[[], Callable[[], None]]) -> Response:
    response = current_app.response_class(body, mimetype="text/event-stream", headers=FIELDS)
    response.call_on_close(opened())
    return response
