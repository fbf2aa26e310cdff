"""Find out how long a request has waited, by the best that its server and the platform offer.

Knows what servers hand over; knows no limit. What the kernel says comes first, since no client can
make it up. Each step that fails is left for good, with one line in the log.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from flask_concurrency.flask_app.http.request_age import request_age
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.lag import InterpreterLag, LoopLag
from flask_concurrency.runtime.own_connections import OwnConnections
from flask_concurrency.runtime.sock_diag import SockDiag
from flask_concurrency.runtime.tcp_info import (
    TCP_INFO_WORKS,
    UNKNOWN,
    Arrival,
    arrival_by_socket,
)
from flask_concurrency.vocabulary.clock import Clock, monotonic, wall
from flask_concurrency.vocabulary.safe_logger import SafeLogger

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

logger = SafeLogger("flask_concurrency.overload")

Source = Literal[
    "socket", "sock_diag", "connections", "X-Request-Start", "loop lag", "interpreter lag"
]
"""Where an age comes from: the kernel, by the request's socket, by its addresses, or by all
connections of the process; the proxy; or how late the loop or the interpreter is."""

SOURCES: Final[Mapping[Source, str]] = {
    "socket": "the kernel, through the server's socket",
    "sock_diag": "the kernel, by the connection's addresses",
    "connections": "the kernel, from all connections of the process",
    "X-Request-Start": "the proxy's X-Request-Start",
    "loop lag": "the event loop's lag",
    "interpreter lag": "the interpreter's lag",
}
"""Each in words."""

KERNEL: Final[tuple[Source, ...]] = ("socket", "sock_diag", "connections")

FOR_GOOD: Final = {
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOPROTOOPT,
    errno.EPROTONOSUPPORT,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
    errno.ENOENT,
}
"""Errors that the next request would meet as well; others are of one connection."""

UNSEEN: Final = 20
"""Connections in a row that the kernel does not know by the addresses the server gives, after
which those are taken for a proxy's invention."""

_AF_UNIX: Final = getattr(socket, "AF_UNIX", None)

BUSY: Final = 0.005
"""Seconds after the end of a request within which the next one may have waited for it."""


class Arrivals:
    """Says of each request how old it is, in one process.

    :param trusts_proxy: Whether ``X-Request-Start`` comes from a proxy and not from clients.
    :param knows_lag: Whether lag stands in where no age is known.
    :param read_socket: Reads the age by a socket.
    :param sock_diag: By addresses.
    :param connections: By all connections of this process.
    :ivar source: Where the age of the last request came from; ``None`` before the first.
    """

    def __init__(
        self,
        *,
        trusts_proxy: bool = False,
        knows_lag: bool = True,
        works: bool = TCP_INFO_WORKS,
        read_socket: Callable[[Any], Arrival] = arrival_by_socket,
        sock_diag: SockDiag | None = None,
        connections: OwnConnections | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self._trusts_proxy = trusts_proxy
        self._knows_lag = knows_lag
        self._read_socket = read_socket
        self._sock_diag = SockDiag() if sock_diag is None else sock_diag
        self._connections = OwnConnections(clock=clock) if connections is None else connections
        self._loop_lag = LoopLag(clock)
        self._interpreter_lag = InterpreterLag(clock=clock)
        self._left: set[Source] = set() if works else set(KERNEL)
        self._unseen = 0
        self._last_end = 0.0
        self._said: set[Source] = set()
        self._forget()
        self.source: Source | None = None
        call_in_child(self, Arrivals._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()

    @property
    def source_text(self) -> str:
        """Where the age of the last request came from, for people; empty before the first."""
        return "" if self.source is None else SOURCES[self.source]

    def of_environ(
        self, environ: WSGIEnvironment, now: float, inside: Callable[[], int]
    ) -> Arrival:
        """How a WSGI request came.

        :param now: The monotonic instant.
        :param inside: Says how many requests are inside the app.
        """
        if "socket" not in self._left:
            connection = environ.get("gunicorn.socket") or _socket_of(environ)
            if connection is not None:
                arrival = self._by_socket(connection)
                if arrival is not None:
                    return arrival
        return self._by_less(environ.get("HTTP_X_REQUEST_START"), now, inside)

    def of_scope(
        self, scope: Mapping[str, Any], receive: object, now: float, inside: Callable[[], int]
    ) -> Arrival:
        """How an ASGI request came; to be called on its event loop.

        :param receive: What the server gives with the scope.
        """
        if "socket" not in self._left:
            connection = _socket_behind(receive)
            if connection is not None:
                arrival = self._by_socket(connection)
                if arrival is not None:
                    return arrival
        if "sock_diag" not in self._left:
            addresses = _addresses_of(scope)
            if addresses is not None:
                try:
                    arrival = self._sock_diag.arrival(*addresses)
                except (OSError, ValueError) as error:
                    if isinstance(error, OSError) and error.errno not in FOR_GOOD:
                        return UNKNOWN
                    self._leave("sock_diag", error)
                else:
                    if arrival is not None:
                        self._unseen = 0
                        self._is("sock_diag")
                        return arrival
                    self._unseen += 1
                    if self._unseen < UNSEEN:
                        return UNKNOWN
                    self._leave("sock_diag", "it does not know the addresses the server gives")
        started = None
        if self._trusts_proxy:
            for name, value in scope["headers"]:
                if name == b"x-request-start":
                    started = value.decode("latin-1")
        return self._by_less(started, now, inside)

    def ended(self, arrival: Arrival, now: float) -> None:
        """A request has been answered."""
        # A thread that was held up for the interpreter comes with an instant of long ago.
        self._last_end = max(self._last_end, now)
        if self.source == "connections":
            self._connections.ended(arrival)

    def _by_socket(self, connection: Any) -> Arrival | None:
        """What the kernel says; ``None`` where it says nothing of this kind of socket."""
        try:
            arrival = self._read_socket(connection)
        except OSError as error:
            if error.errno not in FOR_GOOD:
                return UNKNOWN
            # Of a Unix socket the kernel reports nothing; others of the server may be TCP.
            if getattr(connection, "family", None) != _AF_UNIX:
                self._leave("socket", error)
            return None
        if self.source != "socket":
            self._is("socket")
        return arrival

    def _by_less(self, started: str | None, now: float, inside: Callable[[], int]) -> Arrival:
        """The steps for which it does not matter what the server hands over."""
        if "connections" not in self._left:
            try:
                idle = now - self._last_end > BUSY and inside() == 0
                if idle and self.source == "connections" and not self._connections.waits:
                    return self._connections.idle()
                arrival = self._connections.arrival()
                self._is("connections")
                return arrival
            except OSError as error:
                if error.errno not in FOR_GOOD:
                    return UNKNOWN
                self._leave("connections", error)
        if started is not None and self._trusts_proxy:
            age = request_age(started, wall())
            if age is not None:
                self._is("X-Request-Start")
                return Arrival(age, False)
        if not self._knows_lag:
            return UNKNOWN
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._is("interpreter lag")
            return Arrival(self._interpreter_lag(now), False)
        self._is("loop lag")
        return Arrival(self._loop_lag(now), False)

    def _is(self, source: Source) -> None:
        if self.source is source:
            return
        self.source = source
        with self._lock:
            if source in self._said:
                return
            self._said.add(source)
        logger.info("The age of requests comes from %s.", SOURCES[source])

    def _leave(self, source: Source, why: object) -> None:
        with self._lock:
            if source in self._left:
                return
            self._left.add(source)
        logger.warning(
            "The age of requests cannot come from %s (%s); the next best is used.",
            SOURCES[source],
            why,
        )


def _socket_of(environ: WSGIEnvironment) -> Any:
    """The socket of a request, where its server hands it over; ``None`` where not."""
    found = environ.get("werkzeug.socket")
    if found is None and "waitress.client_disconnected" in environ:
        channel = getattr(environ["waitress.client_disconnected"], "__self__", None)
        found = getattr(channel, "socket", None)
    return found if hasattr(found, "getsockopt") else None


def _socket_behind(receive: object) -> Any:
    """The socket of a request where it stands behind what its server gives, on uvicorn or gunicorn.

    The guards take 7 µs of a request then, and 16 by addresses (``./scripts/bench
    overload-admitted``).
    """
    owner = getattr(receive, "__self__", None)
    transport = getattr(getattr(owner, "protocol", owner), "transport", None)
    try:
        found = transport.get_extra_info("socket")  # type: ignore[union-attr]  # or it has none
    except AttributeError:
        return None
    return found if hasattr(found, "getsockopt") else None


def _addresses_of(scope: Mapping[str, Any]) -> tuple[str, int, str, int] | None:
    """Both ends of a request's connection; ``None`` where they are not told, or by a proxy."""
    server, client = scope.get("server"), scope.get("client")
    if not server or not client:
        return None
    host, port, *_ = server
    remote, remote_port, *_ = client
    try:
        port, remote_port = int(port), int(remote_port)  # granian gives the client's as text
    except (TypeError, ValueError):
        return None
    # uvicorn names the client that a proxy names, with 0 for the port that it does not know.
    if not host or not remote or not (0 < port < 65_536 and 0 < remote_port < 65_536):
        return None
    return host, port, remote, remote_port
