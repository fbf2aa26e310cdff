"""Gunicorn need not wait until the client of a refused request has closed its side."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.http.unwaited_close import close_without_waiting
from standing_queue import Overload

SYNC: dict[str, Any] = {"SERVER_PROTOCOL": "HTTP/1.1", "wsgi.multithread": False}
GTHREAD: dict[str, Any] = {"SERVER_PROTOCOL": "HTTP/1.1", "wsgi.multithread": True}

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A connection over the loopback: the server's end, and that of a client that stays."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        yield server, client


def waits_for_client(server: socket.socket) -> bool:
    """Whether who reads until the client has closed its side would have to wait."""
    server.setblocking(False)
    try:
        while server.recv(4096):
            pass
    except BlockingIOError:
        return True
    return False


@pytest.mark.parametrize(
    "environ",
    [
        SYNC,
        {**SYNC, "HTTP_CONNECTION": "keep-alive"},  # it never keeps one
        {**SYNC, "CONTENT_LENGTH": "0"},
        {**SYNC, "CONTENT_LENGTH": ""},
        {**GTHREAD, "HTTP_CONNECTION": "close"},
        {**GTHREAD, "HTTP_CONNECTION": "Close"},
        {**GTHREAD, "SERVER_PROTOCOL": "HTTP/1.0"},
    ],
)
def test_a_client_with_nothing_left_to_send_is_not_waited_for(
    ends: Ends, environ: dict[str, Any]
) -> None:
    """To who reads on, its side looks closed; what the server sends arrives."""
    server, client = ends
    close_without_waiting({**environ, "gunicorn.socket": server})
    assert not waits_for_client(server)
    server.setblocking(True)
    server.sendall(b"no")
    server.shutdown(socket.SHUT_WR)
    client.settimeout(10)
    assert client.recv(10) == b"no"
    assert client.recv(10) == b""


@pytest.mark.parametrize(
    "environ",
    [
        {**SYNC, "CONTENT_LENGTH": "5"},
        {**SYNC, "HTTP_TRANSFER_ENCODING": "chunked"},
        GTHREAD,
        {**GTHREAD, "HTTP_CONNECTION": "keep-alive"},
        {**GTHREAD, "HTTP_CONNECTION": "keep-alive,close"},  # gunicorn goes by the first
        {**GTHREAD, "HTTP_CONNECTION": "keep-alive", "SERVER_PROTOCOL": "HTTP/1.0"},
        {**GTHREAD, "HTTP_CONNECTION": "keep-alive,close", "SERVER_PROTOCOL": "HTTP/1.0"},
    ],
)
def test_a_client_that_may_send_more_is_waited_for(ends: Ends, environ: dict[str, Any]) -> None:
    """A body that comes in on a closed socket would destroy the answer; a kept one goes on."""
    server, client = ends
    close_without_waiting({**environ, "gunicorn.socket": server})
    client.sendall(b"more")
    server.settimeout(10)
    assert server.recv(10) == b"more"
    assert waits_for_client(server)


def test_what_has_come_in_is_read_all_the_same(ends: Ends) -> None:
    """Bytes that the server leaves unread when it closes would destroy the answer."""
    server, client = ends
    client.sendall(b"\r\n")
    server.settimeout(10)
    assert server.recv(10, socket.MSG_PEEK) == b"\r\n"
    close_without_waiting({**SYNC, "gunicorn.socket": server})
    assert server.recv(10) == b"\r\n"
    assert not waits_for_client(server)


def test_a_connection_with_tls_is_left_alone(ends: Ends) -> None:
    """To shut one side of it down would end its encryption."""

    class Wrapped(socket.socket):
        """As ``ssl.SSLSocket`` is one."""

    server, _ = ends
    with Wrapped(fileno=socket.dup(server.fileno())) as wrapped:
        close_without_waiting({**SYNC, "gunicorn.socket": wrapped})
        assert waits_for_client(wrapped)


def test_a_client_that_has_left_is_no_error(ends: Ends) -> None:
    """Its socket can no longer be shut down."""
    server, _ = ends
    server.close()
    close_without_waiting({**SYNC, "gunicorn.socket": server})


@pytest.mark.parametrize("environ", [{}, {"gunicorn.socket": None}])
def test_other_servers_close_as_they_do(environ: dict[str, Any]) -> None:
    """They hand over no such socket."""
    close_without_waiting({**SYNC, **environ})


@pytest.mark.parametrize("refused", [True, False])
def test_only_the_client_of_a_refusal_is_not_waited_for(ends: Ends, refused: bool) -> None:
    """An answer of the app is closed as ever."""
    app = Flask(__name__)
    app.testing = True
    Concurrency(app, app_limits="adaptive")
    app.get("/")(lambda: "here")
    told = Overload(app)
    if refused:
        told.stand()
    server, _ = ends
    status = app.test_client().get("/", environ_overrides={**SYNC, "gunicorn.socket": server})
    assert status.status_code == (503 if refused else 200)
    assert waits_for_client(server) is not refused
