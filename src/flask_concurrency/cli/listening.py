"""Choose the address to listen on, and refuse one that cannot be had before anything starts.

Knows sockets and how to say what is wrong with one; knows no server.
"""

from __future__ import annotations

import errno
import socket
import sys
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    :ivar host: A numeric address, which every server understands.
    :ivar port: The port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def free_address(host: str, port: int) -> Address:
    """The numeric address of ``host``, seen to be free.

    Seen, not held: granian's workers open a socket each with ``SO_REUSEPORT``, which would also
    let a second server share the port without a word.

    :param host: A name or an address of this machine.
    :param port: The port; ``0`` chooses any free one.
    :raises click.ClickException: The name is unknown, or the port cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # a label of more than 63 letters is a UnicodeError
        raise click.BadParameter(
            f"{host!r} is no address of this machine: {error}. Use 127.0.0.1 for this machine "
            "alone, or 0.0.0.0 for the network.",
            param_hint="'--host'",
        ) from None
    # "localhost" has both; 127.0.0.1 is what people then type.
    family, kind, protocol, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as probe:
        if sys.platform != "win32":  # there it would allow what we are looking for
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise _cannot_listen(Address(str(where[0]), port), error) from None
        name = probe.getsockname()
    return Address(name[0], name[1])


def _cannot_listen(address: Address, error: OSError) -> click.ClickException:
    if error.errno == errno.EADDRINUSE:
        return click.ClickException(
            f"Port {address.port} of {address.host} is in use by another program. Stop that "
            f"program, or choose another port: --port {address.port % 65535 + 1}, or --port 0 for "
            "any free one."
        )
    if error.errno == errno.EACCES:
        return click.ClickException(
            f"Port {address.port} needs privileges this user does not have. Choose one of 1024 "
            "and above, as in --port 8000, and let a proxy listen on the other."
        )
    return click.BadParameter(
        f"{address.host!r} is no address of this machine: {error.strerror}. Use 127.0.0.1 for "
        "this machine alone, or 0.0.0.0 for the network.",
        param_hint="'--host'",
    )
