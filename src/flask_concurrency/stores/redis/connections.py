"""Connect to Redis so that nothing lasts longer than its deadline. Knows no script and no key.

The client library's timeouts are for each read by itself, and a new connection makes several: it
resolves and connects, says who it is, chooses a database. Here all of a call's reads share one
deadline. Only the resolution of a host's name is beyond it: no system call has a timeout for that.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ssl import SSLSocket
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
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
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

REPLY = 65_536
"""Bytes that are read at once."""

LONGEST_LINE = 32
"""Bytes of a line that says a number, at most."""

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


def _stirs(sock: Any) -> Callable[[], object] | None:
    if isinstance(sock, SSLSocket) or not hasattr(select, "poll"):
        return None
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return partial(waiting.poll, 0)


class _TimedSocket:
    """A socket whose reads of one call share the deadline, however many the answer takes.

    The first read has the timeout that was set when the command was sent. A server that sends
    byte after byte would get the whole of it anew for each.

    :param sock: A connected socket.
    :ivar stirs: Gives something true if the server has said something unasked, or left; ``None``
        where that cannot be asked of the socket alone.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._read_for: float | None = None
        self.stirs = _stirs(sock)
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


class Caller:
    """Sends commands of one client.

    Not by ``execute_command`` where it can be helped: its retries, metrics and callbacks, which are
    not used here, take as long as all the rest. The pool makes connections and closes them, but is
    not asked for each command.

    :param client: The client.
    :ivar exchanges: Whether :meth:`exchange` can be used: not in a cluster.
    """

    def __init__(self, client: Client) -> None:
        cluster = isinstance(client, RedisCluster)
        self._send = client.execute_command if cluster else self._send_alone
        self._pool = None if isinstance(client, RedisCluster) else client.connection_pool
        self.exchanges = not cluster
        self._idle: deque[Connection] = deque()  # the one used last is the next one

    def __call__(self, *command: Any) -> Any:
        """Send one command and give its reply."""
        return self._send(*command)

    def _send_alone(self, *command: Any) -> Any:
        connection = self._connection()
        try:
            _make_ready(connection)
            connection.send_command(*command)
            return connection.read_response()
        finally:
            self._idle.append(connection)  # whatever failed has closed it, and it opens again

    def exchange(self, packed: bytes, numbers: int) -> list[int] | bytes:
        """Send a command as it is, and read the whole numbers that it is answered with.

        Of a trip of 75 µs the client library's packing, reading and looking for what a server may
        say unasked takes 25 (``bench redis-parts``).

        :param numbers: How many there are.
        :returns: The numbers; the line of an error, or the beginning of something else.
        :raises RedisError: No answer came in time, or the server left.
        """
        begins = b"*%d\r\n:" % numbers
        connection = self._connection()
        try:
            sock: Any = connection._sock
            if sock is None or sock.stirs is None or sock.stirs():
                _make_ready(connection)
                sock = connection._sock
            try:
                sock.settimeout(_left())
                sock.sendall(packed)
                reply: bytes = sock.recv(REPLY)
                while not _whole(reply, begins, numbers + 1):
                    more = sock.recv(REPLY)
                    if not more:
                        raise RedisConnectionError("The server left before it had answered.")
                    reply += more
            except TimeoutError as error:
                raise RedisTimeoutError("Timeout reading from the server") from error
            if reply.startswith(begins) and reply.endswith(b"\r\n"):
                with suppress(ValueError):
                    told = list(map(int, reply[len(begins) : -2].split(b"\r\n:")))
                    if len(told) == numbers:
                        return told
            if not reply.startswith(b"-"):
                connection.disconnect()  # what else it may say belongs to no later command
            return reply
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)

    def _connection(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            assert self._pool is not None
            connection: Connection = self._pool.get_connection()
            return connection


def _whole(reply: bytes, begins: bytes, lines: int) -> bool:
    """Whether no more of a reply is to come, or it is none that was expected."""
    if reply.startswith(begins):
        return reply.count(b"\n") >= lines or len(reply) > LONGEST_LINE * lines
    if reply.startswith(b"-"):
        return reply.endswith(b"\n") or len(reply) > REPLY
    return not begins.startswith(reply)


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
