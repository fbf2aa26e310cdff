"""Ask the kernel about a connection of which only the addresses are known, through Netlink.

Knows the messages of ``NETLINK_SOCK_DIAG`` (see ``sock_diag(7)``); knows no server and no request.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import threading
from contextlib import suppress
from functools import lru_cache
from typing import Final

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.tcp_info import LISTEN, Arrival, read_arrival

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
NLMSG_ERROR: Final = 2
INET_DIAG_INFO: Final = 2
ANY_STATE: Final = 0xFFFFFFFF
NO_COOKIE: Final = b"\xff" * 8

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST: Final = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_PORTS: Final = struct.Struct("!HH")
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_ERROR: Final = struct.Struct("=i")
_LENGTH: Final = 16 + 56
_STATE_AT: Final = 16 + 1
_ATTRIBUTES_AT: Final = 16 + 72
_LONGEST: Final = 4096


class SockDiag:
    """Asks about connections, with one Netlink socket a thread."""

    def __init__(self) -> None:
        self._forget()
        call_in_child(self, SockDiag._forget)

    def _forget(self) -> None:
        """In a forked child: the parent's sockets are the parent's."""
        self._of_thread = threading.local()

    def arrival(self, local: str, local_port: int, remote: str, remote_port: int) -> Arrival | None:
        """What the kernel knows of the connection between two addresses.

        :returns: ``None`` if there is no such connection, any more.
        :raises OSError: It refuses, as where Netlink is not allowed.
        :raises ValueError: An address is none.
        """
        family, source = _packed(local)
        other, target = _packed(remote)
        if family != other:
            raise ValueError(f"{local} and {remote} are addresses of two kinds.")
        try:
            channel: _Channel = self._of_thread.channel
        except AttributeError:
            channel = self._of_thread.channel = _Channel()
        sequence = channel.next_sequence()
        answer = channel.ask(
            _HEADER.pack(_LENGTH, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, sequence, 0)
            + _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0, ANY_STATE)
            + _PORTS.pack(local_port, remote_port)
            + source
            + target
            + b"\0\0\0\0"
            + NO_COOKIE,
            sequence,
        )
        length, kind, *_ = _HEADER.unpack_from(answer)
        if kind == NLMSG_ERROR:
            number = -_ERROR.unpack_from(answer, _HEADER.size)[0]
            if number == 2:  # ENOENT
                return None
            raise OSError(number, os.strerror(number))
        if answer[_STATE_AT] == LISTEN:
            return None  # it is the port that listens, in place of a connection to it
        at = _ATTRIBUTES_AT
        while at + _ATTRIBUTE.size <= length:
            size, kind = _ATTRIBUTE.unpack_from(answer, at)
            if kind == INET_DIAG_INFO:
                return read_arrival(answer[at + _ATTRIBUTE.size : at + size])
            at += max(_ATTRIBUTE.size, (size + 3) & ~3)
        return None


class _Channel:
    """A Netlink socket, closed when its thread ends.

    :raises OSError: There is none to be had.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG)
        self._socket.setblocking(False)  # the kernel answers within the call that asks
        self._socket.connect((0, 0))
        self._sequence = 0

    def next_sequence(self) -> int:
        """A number that no question had lately."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence

    def ask(self, question: bytes, sequence: int) -> bytes:
        """Give the answer to a question of this number; what came late for another is dropped.

        :raises OSError: The kernel refuses.
        """
        self._socket.send(question)
        while True:
            answer = self._socket.recv(_LONGEST)
            if _HEADER.unpack_from(answer)[3] == sequence:
                return answer

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            self._socket.close()


@lru_cache(maxsize=4096)
def _packed(address: str) -> tuple[int, bytes]:
    """The family and the sixteen bytes of an address.

    :raises ValueError: It is none.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    return family, found.packed.ljust(16, b"\0")
