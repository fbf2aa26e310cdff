"""Read from the kernel when a request arrived, and whether its client is still there.

Knows the layout of Linux' ``struct tcp_info``; knows no server and no request.

``tcpi_last_data_recv`` counts from the last bytes that came in, wherever the request has waited
since: in the kernel's backlog, in a server's queue, for the interpreter. What comes in several
pieces looks younger than it is, never older.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final, NamedTuple, Protocol

TCP_INFO_WORKS: Final = sys.platform == "linux" and hasattr(socket, "TCP_INFO")
"""Whether this platform has it in the layout that is read here."""

_TCP: Final = socket.IPPROTO_TCP
_INFO: Final = getattr(socket, "TCP_INFO", 0)

SIZE: Final = 136
"""Bytes asked for: up to and with ``tcpi_bytes_received``. Kernels before 4.2 give less."""

ENOUGH: Final = 56
"""Bytes that must come back: up to and with ``tcpi_last_data_recv``."""

ESTABLISHED: Final = 1
CLOSE_WAIT: Final = 8
LISTEN: Final = 10

_LAST_DATA: Final = struct.Struct("=I4xI")  # sent and received, milliseconds ago
_LAST_DATA_AT: Final = 44
_RECEIVED: Final = struct.Struct("=I")
_RECEIVED_AT: Final = 52
_BYTES: Final = struct.Struct("=QQ")  # acknowledged by the peer, received from it
_BYTES_AT: Final = 120


class Arrival(NamedTuple):
    """What the kernel knows of a connection that a request came by.

    :ivar age: Seconds since its last bytes came in.
    :ivar gone: Whether the client has closed its side: no client would read an answer.
    """

    age: float
    gone: bool


UNKNOWN: Final = Arrival(0.0, False)
"""The answer where nothing is known: no age, and connected."""


_YOUNG: Final = tuple(Arrival(milliseconds / 1e3, False) for milliseconds in range(100))
"""How most requests come; to look it up takes 0.1 µs, to make it 0.5."""


class HasOptions(Protocol):
    """A socket, of whatever library."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Read an option of the socket."""
        ...


def arrival_by_socket(connection: HasOptions) -> Arrival:
    """What the kernel knows of the connection of a socket.

    :raises OSError: It refuses: no TCP socket, such as a Unix socket, or a closed one.
    """
    return read_arrival(connection.getsockopt(_TCP, _INFO, ENOUGH))


def read_arrival(info: bytes) -> Arrival:
    """Read a ``struct tcp_info``.

    :raises OSError: It is too short to hold the age.
    """
    if len(info) < ENOUGH:
        raise OSError(f"The kernel tells {len(info)} bytes of a connection; {ENOUGH} are needed.")
    milliseconds: int = _RECEIVED.unpack_from(info, _RECEIVED_AT)[0]
    if milliseconds < len(_YOUNG) and info[0] != CLOSE_WAIT:
        return _YOUNG[milliseconds]
    return Arrival(milliseconds / 1e3, info[0] == CLOSE_WAIT)


def waits_since(info: bytes | bytearray | memoryview) -> float | None:
    """Seconds since bytes came in that have not been answered, as far as one can see from outside.

    :param info: All :data:`SIZE` bytes of a ``struct tcp_info``.
    :returns: ``None`` where nothing waits.
    """
    if info[0] not in (ESTABLISHED, CLOSE_WAIT):
        return None
    sent, received = _LAST_DATA.unpack_from(info, _LAST_DATA_AT)
    acknowledged, got = _BYTES.unpack_from(info, _BYTES_AT)
    # The connection itself counts as one byte that the peer has acknowledged.
    if got and (acknowledged <= 1 or sent > received):
        return received / 1e3  # type: ignore[no-any-return]  # an int, by the layout
    return None
