"""Make a WebSocket of a request to a WSGI server, on the socket that it lends.

The one file that needs simple-websocket, which speaks the protocol; knows no route and no handler.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import simple_websocket  # type: ignore[import-untyped]
from werkzeug.exceptions import BadRequest
from wsproto.utilities import RemoteProtocolError

from flask_concurrency.asgi.websocket_connection import READ_AHEAD
from flask_concurrency.executors.threads.executor import ThreadExecutor
from flask_concurrency.runtime.deadline import check_deadline, remaining
from flask_concurrency.runtime.drain import Drain
from flask_concurrency.vocabulary.errors import ConfigurationError, ConnectionClosed
from flask_concurrency.vocabulary.websocket import (
    CUT_OFF,
    DRAINING,
    GOING_AWAY,
    TOO_BIG,
    TOO_BIG_TEXT,
    AsyncWebSocket,
    WebSocket,
    closed,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SOCKETS: Final = ("werkzeug.socket", "gunicorn.socket")
"""Where servers that lend a request's socket put it."""

PING_EVERY: Final = 25.0
"""Seconds. WSGI servers send no pings, and without them a client that is cut off stays for ever."""

CLOSES_WITHIN: Final = 5.0
"""Seconds that a client gets to answer a close frame."""


class WsgiWebSocket(WebSocket):
    """For plain code, on the thread of the request.

    :param subprotocols: Those that are spoken here.
    :param max_message_size: Characters or bytes of a message; a larger one ends it.
    :param drain: Ends it, when it begins.
    :param threads: Where coroutines send, because that may block.
    :raises ConfigurationError: The server lends no socket.
    :raises BadRequest: The client's handshake is none.
    """

    def __init__(
        self,
        environ: WSGIEnvironment,
        *,
        subprotocols: Sequence[str],
        max_message_size: int | None,
        drain: Drain,
        threads: ThreadExecutor,
    ) -> None:
        self._socket = _lent(environ)
        self._threads = threads
        self._max_message_size = max_message_size
        self.wake = _Wake()
        self._line = _Line(self._socket, self.wake.set)
        try:
            self._server = _Server(
                {**environ, SOCKETS[0]: self._line},
                subprotocols=list(subprotocols),
                ping_interval=PING_EVERY,
                max_message_size=max_message_size,
                thread_class=partial(threading.Thread, daemon=True),
                event_class=lambda: self.wake,
            )
        except RemoteProtocolError as error:
            raise BadRequest(f"This is no handshake of a WebSocket: {error}.") from error
        self.subprotocol = self._server.subprotocol
        self._ended: tuple[int, str | None] | None = None
        # What is sent is compressed with what was sent before, so it must go in that order.
        self._sending = threading.Lock()
        self._drain = drain
        self._ticket = drain.call(self.wake.end)

    @property
    def connected(self) -> bool:
        return self._ended is None and bool(self._server.connected)

    def _receive(self, timeout: float | None) -> str | bytes | None:
        left = remaining()
        wait = timeout if left is None else left if timeout is None else min(timeout, left)
        message = self._take(wait)
        if message is None:
            if self.wake.ending:
                self._close(GOING_AWAY, DRAINING)
                raise self._error()
            if wait != timeout:
                check_deadline()
        return message

    def poll(self) -> str | bytes | None:
        """A message that has come in; ``None`` for none yet.

        :raises ConnectionClosed: It has ended.
        """
        return self._take(0)

    def _send(self, message: str | bytes) -> None:
        if self.wake.ending:
            self._close(GOING_AWAY, DRAINING)
        if not self.connected:
            raise self._error()
        try:
            with self._sending:
                self._server.send(message)
        except (OSError, simple_websocket.ConnectionClosed) as error:
            self._ended = self._closing()  # the reader may notice it only later
            raise self._error() from error

    def _close(self, code: int, text: str | None) -> None:
        if self.connected:
            self._ended = code, text
            self._line.read_on()
            # The client may be faster.
            with suppress(OSError, simple_websocket.ConnectionClosed), self._sending:
                self._server.close(code, text)

    def awaitable(self) -> AsyncWebSocket:
        """The same one for coroutines on the running loop."""
        return AsyncWsgiWebSocket(self, self._threads)

    def finish(self) -> None:
        """Let the client answer the end, and then use the socket no more.

        The server will try to answer the request. It finds that nothing can be written, which it
        takes for a client that has left, and closes the socket.
        """
        self._drain.forget(self._ticket)
        self._line.read_on()
        self._server.thread.join(CLOSES_WITHIN)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._server.thread.join()

    def _take(self, timeout: float | None) -> str | bytes | None:
        if self._ended is not None and not self._server.input_buffer:
            raise self._error()
        try:
            message: str | bytes | None = self._server.receive(timeout)
        except simple_websocket.ConnectionClosed:
            raise self._error() from None
        self._line.room.set()
        return message

    def _closing(self) -> tuple[int, str | None]:
        if self._ended is not None:
            return self._ended
        size, most = self._server.incoming_message_len, self._max_message_size
        if most is not None and size > most:
            return TOO_BIG, TOO_BIG_TEXT
        return int(self._server.close_reason), self._server.close_message or None

    def _error(self) -> ConnectionClosed:
        return closed(*self._closing())


class AsyncWsgiWebSocket(AsyncWebSocket):
    """For coroutines on the running loop. To wait for a message costs no thread.

    :param threads: Where messages are sent.
    """

    def __init__(self, plain: WsgiWebSocket, threads: ThreadExecutor) -> None:
        self._plain = plain
        self._threads = threads
        self.subprotocol = plain.subprotocol
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        plain.wake.notify = lambda: loop.call_soon_threadsafe(self._news.set)
        self._news.set()

    @property
    def connected(self) -> bool:
        return self._plain.connected

    def _closing(self) -> tuple[int, str | None]:
        return self._plain._closing()

    async def _receive(self, timeout: float | None) -> str | bytes | None:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._news.clear()
                    message = self._plain.poll()
                    if message is not None:
                        return message
                    if self._plain.wake.ending:
                        await self._close(GOING_AWAY, DRAINING)
                        continue
                    await self._news.wait()
        except TimeoutError:
            return self._plain.poll()

    async def _send(self, message: str | bytes) -> None:
        await self._threads.run(self._plain.send, message)

    async def _close(self, code: int, text: str | None) -> None:
        await self._threads.run(self._plain.close, code, text)


class _Server(simple_websocket.Server):  # type: ignore[misc]
    def handshake(self) -> None:
        self.sock.server = self
        super().handshake()
        # Until a close frame says otherwise, as every other implementation has it.
        self.close_reason = CUT_OFF


class _Wake:
    """What simple-websocket's reader wakes receivers by, in place of a ``threading.Event``.

    The end of the server wakes them, too, in a signal handler, where no lock may be taken.

    :ivar ending: The server is about to stop.
    :ivar notify: Called at each waking.
    """

    def __init__(self) -> None:
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self.ending = False
        self.notify: Callable[[], object] | None = None

    def set(self) -> None:
        self._tokens.put(None)
        if self.notify is not None:
            with suppress(RuntimeError):  # its loop is closed, and no task waits there
                self.notify()

    def clear(self) -> None:
        with suppress(Empty):
            while True:
                self._tokens.get_nowait()

    def wait(self, timeout: float | None = None) -> bool:
        if self.ending:
            return False
        try:
            self._tokens.get(timeout=timeout)
        except Empty:
            return False
        return not self.ending

    def end(self) -> None:
        self.ending = True
        self.set()


class _Line:
    """A socket to which frames are written whole, one at a time, and which its owner closes.

    It is not read while enough messages wait for the handler, which holds the client up.

    :param ended: Called when it is not read any more.
    :ivar room: Set when there may be room for more messages.
    """

    server: _Server

    def __init__(self, lent: socket.socket, ended: Callable[[], object]) -> None:
        self._lent = lent
        self._ended = ended
        self._writing = threading.Lock()
        self._free = False
        self.room = threading.Event()
        self.fileno = lent.fileno

    def recv(self, size: int) -> bytes:
        while not self._free and len(self.server.input_buffer) >= READ_AHEAD:
            self.room.clear()
            if len(self.server.input_buffer) >= READ_AHEAD and not self._free:
                self.room.wait()
            self.server.pong_received = True  # it may be there, unread: not the client's fault
        return self._lent.recv(size)

    def send(self, data: bytes) -> int:
        with self._writing:  # the reader answers pings while others send
            self._lent.sendall(data)
        return len(data)

    def read_on(self) -> None:
        """Read on: it is the client's closing message that matters now."""
        self._free = True
        self.room.set()

    def close(self) -> None:
        self._ended()


def _lent(environ: WSGIEnvironment) -> Any:
    for name in SOCKETS:
        if environ.get(name) is not None:
            return environ[name]
    raise ConfigurationError(
        f"This server, {environ.get('SERVER_SOFTWARE', 'whatever it is')!r}, does not lend the "
        "socket of a request, without which there are no WebSockets on WSGI. Serve the app on "
        "gunicorn (gthread), or with concurrency.asgi_app(app) on any ASGI server."
    )
