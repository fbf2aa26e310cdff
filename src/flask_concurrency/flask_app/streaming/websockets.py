"""Make a view of a WebSocket's handler: who may connect, what the handler gets, how it ends.

Knows Flask and handlers; how messages come and go, it does not.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from flask import Response, current_app, got_request_exception, request
from werkzeug.exceptions import HTTPException

from flask_concurrency.asgi.environ import CONNECTION
from flask_concurrency.asgi.websocket_connection import Connection
from flask_concurrency.asgi.websocket_handles import AsgiWebSocket
from flask_concurrency.executors.loop.call import was_cancelled
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.current_journey import journey_of
from flask_concurrency.flask_app.http.responses import Refusal
from flask_concurrency.flask_app.loop_endpoints import AWAITED, AWAITS
from flask_concurrency.flask_app.streaming.websocket_origins import Origins, PagesAllowed
from flask_concurrency.runtime.drain import watch_signals
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    ConnectionClosed,
    ExecutorShutdown,
)
from flask_concurrency.vocabulary.websocket import (
    FAILED,
    GOING_AWAY,
    NORMAL,
    TRY_AGAIN,
    VIOLATION,
    AsyncWebSocket,
)

Handler = Callable[..., Any]

INSTALL = 'pip install "Flask-Concurrency[websocket]"'


@dataclass(frozen=True, slots=True)
class WebSocketOptions:
    """What is said of a handler.

    :ivar origins: Whose pages may connect.
    :ivar subprotocols: Those it speaks, as text.
    :ivar max_message_size: Characters or bytes of a message; ``None`` for any number.
    :raises ConfigurationError: One of them is malformed.
    """

    origins: PagesAllowed
    subprotocols: tuple[str, ...]
    max_message_size: int | None

    def __post_init__(self) -> None:
        for name in self.subprotocols:
            if not isinstance(name, str) or not name:
                raise ConfigurationError(
                    f"subprotocols={self.subprotocols!r}: give their names, as in "
                    'subprotocols=["graphql-transport-ws"].'
                )
        size = self.max_message_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ConfigurationError(
                f"max_message_size={size!r}: give a number of bytes, at least 1, or None for any."
            )


def websocket_options(
    origins: Origins, subprotocols: str | Iterable[str], max_message_size: int | None
) -> WebSocketOptions:
    """Check the options and keep them.

    :raises ConfigurationError: One of them is malformed.
    """
    names = (subprotocols,) if isinstance(subprotocols, str) else tuple(subprotocols)
    return WebSocketOptions(PagesAllowed(origins), names, max_message_size)


def websocket_view(
    handler: Handler, options: WebSocketOptions, state: Callable[[], AppState]
) -> Callable[..., Any]:
    """A view function that runs ``handler``, which gets the WebSocket as its first argument.

    It is a plain function whatever the handler is: were it asynchronous itself, it would be run
    within the time of the request, and the WebSocket with it.

    :param state: Gives what the current app owns.
    """
    if not callable(handler):
        raise ConfigurationError(
            f"websocket({handler!r}): decorate a function that takes the WebSocket, as in "
            "def echo(ws)."
        )
    awaits = inspect.iscoroutinefunction(handler)

    @functools.wraps(handler)
    def view(*args: Any, **kwargs: Any) -> Any:
        owned = state()
        options.origins.check()
        try:
            socket = _accept(options, owned)
        except ConnectionClosed:  # the client did not wait for its answer
            return _ended()
        # From here on the time is the client's, not that of a view that has to answer.
        journey_of(request.environ).stop_clock()
        open_until = _UntilTheEnd(owned, socket)
        if not awaits:
            with open_until:
                handler(*args, socket, **kwargs)
        elif request.environ.get(AWAITED) is view:
            return _await(handler, socket, args, kwargs, open_until)
        else:
            with open_until:
                owned.executors.loop.run(_handle(handler, socket, args, kwargs))
        return _ended()

    if awaits:
        setattr(view, AWAITS, True)
    return view


class _Accepted(Protocol):
    """A WebSocket as the view has it."""

    @property
    def connected(self) -> bool: ...
    def close(self, reason: int | None = None, message: str | None = None) -> None: ...
    def awaitable(self) -> AsyncWebSocket: ...
    def finish(self) -> None: ...


async def _await(
    handler: Handler,
    socket: _Accepted,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    open_until: _UntilTheEnd,
) -> Response:
    """What the view does from the handshake on, where that is awaited: it takes no stack."""
    with open_until:
        awaited = handler(*args, socket.awaitable(), **kwargs)
        del handler, socket, args, kwargs  # it may be open for hours
        await awaited
    return _ended()


class _UntilTheEnd:
    """A block that ends with a WebSocket's handler, and closes the WebSocket.

    What the handler raises is told to the client by the code.
    """

    __slots__ = ("_closed", "_socket")

    def __init__(self, state: AppState, socket: _Accepted) -> None:
        self._socket = socket
        self._closed = state.counters.connection_opened("websocket")

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        socket, code = self._socket, GOING_AWAY
        try:
            if error is None:
                code = NORMAL
                return False
            if isinstance(error, asyncio.CancelledError) and not _is_to_end():
                error, cause = was_cancelled("The handler of a WebSocket"), error
                error.__cause__ = cause
            if not isinstance(error, Exception):
                return False
            code = _code(error, socket)
            if code == FAILED:
                _report(error)
                if current_app.testing:
                    raise error
            return True
        finally:
            self._closed()
            socket.close(code)
            socket.finish()


def _is_to_end() -> bool:
    """Whether the task of this code was itself cancelled, and not only what it awaits."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # it is in a thread
        return True
    return task is None or task.cancelling() > 0


def _ended() -> Response:
    return current_app.response_class(status=101)


async def _handle(
    handler: Handler, socket: _Accepted, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    await handler(*args, socket.awaitable(), **kwargs)


def _accept(options: WebSocketOptions, state: AppState) -> _Accepted:
    environ = request.environ
    if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
        raise ConfigurationError(
            f"{request.endpoint!r} handles WebSockets, and {request.path!r} was asked for a page. "
            f"Register it with websocket=True, as in @app.route({request.path!r}, websocket=True)."
        )
    connection: Connection | None = environ.get(CONNECTION)
    if connection is not None:
        spoken = next((name for name in connection.offered if name in options.subprotocols), None)
        state.executors.loop.run(
            connection.accept(spoken, max_message_size=options.max_message_size, drain=state.drain)
        )
        return AsgiWebSocket(connection, spoken)
    try:
        from flask_concurrency.flask_app.streaming.websocket_on_wsgi import WsgiWebSocket
    except ImportError as error:
        raise ConfigurationError(
            f"WebSockets on a WSGI server need simple-websocket ({error}). {INSTALL}"
        ) from error
    watch_signals()
    return WsgiWebSocket(
        environ,
        subprotocols=options.subprotocols,
        max_message_size=options.max_message_size,
        drain=state.drain,
        threads=state.executors.sockets,
    )


def _code(error: Exception, socket: _Accepted) -> int:
    """The close code and reason for an error that ended the handler."""
    if _is_end(error) and not socket.connected:
        return NORMAL  # it knows already how it ended
    if isinstance(error, Refusal):
        return TRY_AGAIN
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return VIOLATION
    return GOING_AWAY if isinstance(error, ExecutorShutdown) else FAILED


def _is_end(error: BaseException) -> bool:
    """Whether it only says that the WebSocket has ended, in a group of tasks as well."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_end(each) for each in error.exceptions)
    return isinstance(error, ConnectionClosed | asyncio.CancelledError)


def _report(error: Exception) -> None:
    """Report an error as Flask reports one of a view; there is no response to carry it."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    app.logger.error("Exception on the WebSocket %s", request.path, exc_info=error)
