"""Let gunicorn close the connection of a refused request without waiting for its client.

Knows what gunicorn hands over and how it closes; decides no refusal.

Before it closes a connection, gunicorn ends its own side and reads until the client has closed the
other, for two seconds at most: what a client still sends must not destroy the answer on its way
(RFC 9112, section 9.6). A ``sync`` worker does so on its one thread, and a ``gthread`` worker on
the one that accepts connections, so meanwhile no other request is answered. A client that has
nothing left to send need not be waited for.

At ten times the capacity a ``sync`` worker answers a third of its capacity in time then, nothing
otherwise (``OVERLOAD_ONLY=sync/cpu@10 ./scripts/bench overload``).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def close_without_waiting(environ: WSGIEnvironment) -> None:
    """Make gunicorn find the client's side closed, if this answer is the last of its connection.

    Bytes that have come in are read all the same. To be called before the answer is given; does
    nothing on another server, with TLS, or where the client may still send a body.
    """
    connection = environ.get("gunicorn.socket")
    # A subclass is one of TLS, which would be broken, or of a loop, where only one client waits.
    if type(connection) is not socket.socket:
        return
    if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        return
    if environ.get("wsgi.multithread") and not _asks_to_close(environ):
        return  # it may be kept
    with suppress(OSError):  # the client has left
        connection.shutdown(socket.SHUT_RD)


def _asks_to_close(environ: WSGIEnvironment) -> bool:
    said = environ.get("HTTP_CONNECTION", "").strip().lower()
    return said == "close" or (not said and environ.get("SERVER_PROTOCOL") == "HTTP/1.0")
