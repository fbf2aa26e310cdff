"""Play a WSGI server that lends its socket, and the client of a WebSocket behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from websockets.exceptions import ConnectionClosed as ClientClosed
from websockets.sync.client import ClientConnection, connect
from werkzeug.test import EnvironBuilder

from event_loops import GIVE_UP

HANDSHAKE = (
    b"GET PATH HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Served:
    """One request to a WSGI server that lends its socket.

    :ivar writable: Whether the server could answer it after the app; ``None`` before that.
    :ivar error: What the app raised.
    """

    def __init__(self, app: Flask, lent: socket.socket, key: str = "werkzeug.socket") -> None:
        self._app = app
        self._lent = lent
        self._key = key
        self.writable: bool | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._lent.recv(1)
        request_line, *lines = head.decode().strip().split("\r\n")
        environ = EnvironBuilder(
            request_line.split()[1],
            headers=[(line.partition(": ")[0], line.partition(": ")[2]) for line in lines],
        ).get_environ()
        environ[self._key] = self._lent
        said: list[Any] = []
        try:
            body = b"".join(self._app(environ, lambda *given: said.append(given)))  # type: ignore[arg-type]
            status, fields = said[-1][:2]
            answer = f"HTTP/1.1 {status}\r\n"
            answer += "".join(f"{name}: {value}\r\n" for name, value in fields)
            self._lent.sendall(answer.encode() + b"\r\n" + body)
            self.writable = True
        except BrokenPipeError:
            self.writable = False
        except BaseException as error:
            self.error = error
        finally:
            self._lent.close()


@contextmanager
def served(app: Flask, **given: Any) -> Iterator[tuple[Served, socket.socket]]:
    """A request in a thread of its own, and the client's end of its connection."""
    client, lent = socket.socketpair()
    one = Served(app, lent, **given)
    one.thread.start()
    try:
        yield one, client
    finally:
        client.close()
        one.thread.join(GIVE_UP)
        assert not one.thread.is_alive()


@contextmanager
def opened(
    app: Flask, path: str, *, key: str = "werkzeug.socket", **options: Any
) -> Iterator[tuple[ClientConnection, Served]]:
    """A WebSocket to an app."""
    with (
        served(app, key=key) as (one, client),
        connect(f"ws://localhost{path}", sock=client, proxy=None, **options) as ws,
    ):
        yield ws, one


def closing(ws: ClientConnection) -> int:
    """Wait for the end, and give its code."""
    with pytest.raises(ClientClosed) as caught:
        ws.recv(timeout=GIVE_UP)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code
