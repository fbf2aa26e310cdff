"""Connect to Redis so that nothing lasts longer than its deadline. Knows no script and no key.

The client library's timeouts are for each read by itself, and a new connection makes several: it
resolves and connects, says who it is, chooses a database. Here all of a call's reads share one
deadline. Only the resolution of a host's name is beyond it: no system call has a timeout for that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from flask_concurrency.stores.redis.url import Address
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

CLIENT_NAME = "flask-concurrency"
"""What ``CLIENT LIST`` shows on the server."""

LEAST = 0.001
"""Seconds a read is given when the deadline has passed: ``0`` would mean not to wait at all."""

_deadline = threading.local()


def end_within(timeout: float) -> None:
    """Let all that this thread reads and writes from now on end within ``timeout`` seconds.

    To be called before each call anew.
    """
    _deadline.at = monotonic() + timeout


def _left() -> float | None:
    at: float | None = getattr(_deadline, "at", None)
    return None if at is None else max(LEAST, at - monotonic())


def _nothing_pending() -> int:
    """Bytes that a plain socket has decrypted already."""
    return 0


class _TimedSocket:
    """A socket whose reads of one call share the deadline, however many the answer takes.

    The first read has the timeout that was set when the command was sent. A server that sends
    byte after byte would get the whole of it anew for each.

    :param sock: A connected socket.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._read_for: float | None = None
        # What every call uses is found without ``__getattr__``, which takes four times as long.
        self.sendall, self.settimeout = sock.sendall, sock.settimeout
        self.fileno, self.pending = sock.fileno, getattr(sock, "pending", _nothing_pending)

    def recv(self, *arguments: Any) -> bytes:
        """Read once more, for what is left of the time."""
        self._shorten()
        content: bytes = self._sock.recv(*arguments)
        return content

    def recv_into(self, *arguments: Any) -> int:
        """Read once more, for what is left of the time."""
        self._shorten()
        size: int = self._sock.recv_into(*arguments)
        return size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _shorten(self) -> None:
        at: float | None = getattr(_deadline, "at", None)
        if at is not None and at == self._read_for:
            self._sock.settimeout(_left())
        self._read_for = at


if TYPE_CHECKING:
    _Base = Connection
else:
    _Base = object


class _Timed(_Base):
    """Makes a connection's timeouts what is left of the deadline."""

    @property
    def socket_timeout(self) -> float | None:
        return _left()

    @socket_timeout.setter
    def socket_timeout(self, seconds: float | None) -> None:
        pass  # what the URL says is not used

    socket_connect_timeout = socket_timeout

    def _connect(self) -> Any:
        return _TimedSocket(super()._connect())  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._sock is not None:
            # For the reply, too: to send these few bytes takes no time.
            self._sock.settimeout(_left())
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]


class _Tcp(_Timed, Connection):
    pass


class _Tls(_Timed, SSLConnection):
    pass


class _Unix(_Timed, UnixDomainSocketConnection):
    pass


class _MasterTcp(_Timed, SentinelManagedConnection):
    pass


class _MasterTls(_Timed, SentinelManagedSSLConnection):
    pass


Client = Redis | RedisCluster
Call = Callable[..., Any]
"""Sends one command and gives its reply."""


def check_options(address: Address) -> None:
    """See whether connections can be made with these options; none is opened.

    :raises ConfigurationError: An option of the URL is wrong or unknown.
    """
    try:
        options = _options(address.url)
        for name in ("sentinel_username", "sentinel_password"):
            options.pop(name, None)
        ConnectionPool(connection_class=_plain(address), **options).make_connection()
    except (TypeError, ValueError, RedisError) as error:
        raise ConfigurationError(
            f"{address.text!r}: an option of the URL is wrong: {str(error).rstrip('.')}."
        ) from None


def connect(address: Address) -> Client:
    """Make a client; all but a cluster's opens its first connection when it is needed."""
    options = _options(address.url)
    if address.kind == "sentinel":
        return _sentinel(address, options)
    if address.kind == "cluster":
        return _cluster(address, options)
    return _client(_plain(address), options)


def call_of(client: Client) -> Call:
    """How commands are sent.

    Not by ``execute_command`` where it can be helped: its retries, metrics and callbacks, which are
    not used here, take as long as all the rest. The pool makes connections and closes them, but is
    not asked for each command.
    """
    if isinstance(client, RedisCluster):
        send: Call = client.execute_command
        return send
    pool = client.connection_pool
    idle: deque[Connection] = deque()  # the one used last is the next one

    def call(*command: Any) -> Any:
        try:
            connection = idle.pop()
        except IndexError:
            connection = pool.get_connection()
        try:
            _make_ready(connection)
            connection.send_command(*command)
            return connection.read_response()
        finally:
            idle.append(connection)  # whatever failed has closed it, and it opens again

    return call


def scan(client: Client, pattern: str, cursor: int, count: int) -> tuple[int, list[bytes]]:
    """Look at about ``count`` keys; in a cluster at those of the node that has the pattern's slot.

    :param cursor: Where to go on; ``0`` to begin.
    :returns: Where to go on, ``0`` at the end, and the keys that match.
    """
    command = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
    if not isinstance(client, RedisCluster):
        found: tuple[int, list[bytes]] = client.execute_command(*command)
        return found
    node = client.get_node_from_key(pattern)
    cursors, keys = client.execute_command(*command, target_nodes=node)
    (cursor,) = cursors.values()  # one a node that was asked
    return cursor, keys


def disconnect(client: Client) -> None:
    """Close all connections; each opens again when it is needed."""
    if isinstance(client, RedisCluster):
        client.close()
    else:
        client.connection_pool.disconnect()


def _make_ready(connection: Connection) -> None:
    """Open a connection that is closed, or whose server left meanwhile."""
    if connection.is_connected:
        try:
            if not connection.can_read():
                return
        except (RedisError, OSError):
            pass
        connection.disconnect()
    connection.connect()  # of its own accord it would not ask the sentinels who is master now


def _plain(address: Address) -> type:
    return _Tls if address.tls else _Tcp if address.nodes else _Unix


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = {"client_name": CLIENT_NAME, "protocol": 2}
    options |= parse_url(url)
    options.pop("connection_class", None)
    # A second attempt would take a second timeout; stale connections are replaced all the same.
    return options | {"retry": Retry(NoBackoff(), 0)}


def _client(connection: type, options: dict[str, Any]) -> Redis:
    return Redis.from_pool(ConnectionPool(connection_class=connection, **options))


def _sentinel(address: Address, options: dict[str, Any]) -> Redis:
    asking = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")} | {
        "client_name": CLIENT_NAME,
        "protocol": 2,
        "retry": options["retry"],
    }
    sentinel = Sentinel([])
    sentinel.sentinels = [
        _client(_plain(address), asking | {"host": host, "port": port})
        for host, port in address.nodes
    ]
    connection = _MasterTls if address.tls else _MasterTcp
    options = {name: value for name, value in options.items() if name not in ("host", "port")}
    pool = SentinelConnectionPool(address.service, sentinel, connection_class=connection, **options)
    return Redis.from_pool(pool)


def _cluster(address: Address, options: dict[str, Any]) -> RedisCluster:
    # Of a TLS URL the library would take its own connection class.
    url = address.url.replace("rediss://", "redis://", 1)
    nodes = [ClusterNode(host, port) for host, port in address.nodes]
    return RedisCluster(
        url=url,
        startup_nodes=nodes,
        connection_class=_plain(address),
        client_name=CLIENT_NAME,
        protocol=2,
        retry=options["retry"],
    )
