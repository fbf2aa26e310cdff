"""The same handlers of WebSockets do the same for a real client, on every server of both kinds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

APP = "tests/apps/web_sockets"
SERVERS = [
    "werkzeug",
    "gunicorn-gthread",
    "gunicorn-gevent",
    "uvicorn",
    "hypercorn",
    "granian-asgi",
    "gunicorn-asgi",
]
WITHOUT_DENIAL = {"gunicorn-asgi"}
"""Servers that can only say 403 where a handshake is refused."""
HEARD = {
    "werkzeug": ("4321 bye", "1006 None"),
    "gunicorn-gthread": ("4321 bye", "1006 None"),
    "gunicorn-gevent": ("4321 bye", "1006 None"),
    "uvicorn": ("4321 bye", "1005 None"),
    "hypercorn": ("1006 None", "1006 None"),
    "granian-asgi": ("4321 None", "1005 None"),
    "gunicorn-asgi": ("4321 None", "1006 None"),
}
"""What each server reports of a client that closes with 4321 and "bye", and of one that is gone."""

pytestmark = pytest.mark.slow


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    """The server's name."""
    name: str = request.param
    return name


@pytest.fixture
def url(server: str, serve_all: Callable[[str, str], str]) -> str:
    """Where the app is served."""
    return serve_all(APP, server)


@contextmanager
def opened(url: str, path: str, **options: Any) -> Iterator[ClientConnection]:
    """A WebSocket to the app."""
    options = {"open_timeout": 30, "close_timeout": 30, "proxy": None, **options}
    with connect(url.replace("http", "ws", 1) + path, **options) as ws:
        yield ws


def closing(ws: ClientConnection) -> tuple[int, str]:
    """Wait for the end, and give its code and text."""
    with pytest.raises(ConnectionClosed) as caught:
        ws.recv(timeout=30)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def asked(url: str) -> Any:
    """What a page says."""
    with urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def status_of(url: str, path: str, **options: Any) -> int:
    """The status by which a handshake is refused."""
    with pytest.raises(InvalidStatus) as caught, opened(url, path, **options):
        pass
    status: int = caught.value.response.status_code
    return status


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_handlers_agree(kind: str, server: str, url: str) -> None:
    """Messages, ends, limits and refusals are the same, whatever is in between."""
    with opened(url, f"/{kind}/echo") as ws:
        for message in ("text", "é你\0", "", b"bytes", b"\xff\0", "x" * 300_000, b"y" * 300_000):
            ws.send(message)
            assert ws.recv(timeout=30) == message
        ws.send(["in ", "three ", "pieces"])
        assert ws.recv(timeout=30) == "in three pieces"
        for number in range(200):
            ws.send(str(number))
        assert [ws.recv(timeout=30) for _ in range(200)] == [str(n) for n in range(200)]
        assert asked(f"{url}/{kind}/echo") == "a page"

    with opened(
        url,
        f"/{kind}/each/a%20b?q=1",
        subprotocols=["other", "first", "second"],
        additional_headers={"Cookie": "a=1"},
        origin="https://shop.example",
    ) as ws:
        assert ws.subprotocol == "first"
        assert json.loads(ws.recv(timeout=30)) == {
            "name": "a b",
            "query": "1",
            "scheme": "http",
            "method": "GET",
            "cookie": "1",
            "greeting": "hello",
            "subprotocol": "first",
            "connected": True,
        }
        ws.send("one")
        ws.send(b"enough")
        ws.send("enough")
        assert [ws.recv(timeout=30) for _ in range(3)] == [
            "0: 'one'",
            "1: b'enough'",
            "2: 'enough'",
        ]
        assert closing(ws) == (1000, "")

    with opened(url, f"/{kind}/close") as ws:
        assert closing(ws) == (4001, "that is all")
    assert until_ended(url, 1) == ["closed"]

    with opened(url, f"/{kind}/fail") as ws:
        ws.send("hope")
        assert closing(ws)[0] == 1011

    with opened(url, f"/{kind}/nothing") as ws:
        assert ws.recv(timeout=30) == "None None"
        ws.send("late")
        assert ws.recv(timeout=30) == "'late'"
        assert closing(ws)[0] == 1000

    with opened(url, f"/{kind}/small") as ws:
        ws.send("x" * 100)
        assert ws.recv(timeout=30) == "x" * 100
        ws.send("x" * 101)
        assert closing(ws) == (1009, "Message is too big")

    def refused(status: int) -> int:
        return 403 if server in WITHOUT_DENIAL else status

    with opened(url, f"/{kind}/one") as ws:
        assert ws.recv(timeout=30) == "alone, None"
        assert status_of(url, f"/{kind}/one") == refused(503)
        ws.send("go")
        assert closing(ws)[0] == 1000
    assert until_let_in(url, f"/{kind}/one") == "alone, None"

    assert status_of(url, f"/{kind}/each/x", origin="https://evil.example") == 403
    assert status_of(url, f"/{kind}/echo?unwelcome=1") == refused(401)
    assert status_of(url, "/nowhere") == refused(404)
    assert status_of(url, "/ended") == refused(400)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_handlers_hear_that_a_client_leaves(kind: str, server: str, url: str) -> None:
    """They see as much of it as their server reports; teardown runs once."""
    said_goodbye, cut_off = HEARD[server]
    asked(f"{url}/ended")
    with opened(url, f"/{kind}/watch") as ws:
        assert ws.recv(timeout=30) == "watching"
        ws.close(4321, "bye")
    assert until_ended(url) == [said_goodbye, "torn down"]

    with opened(url, f"/{kind}/watch") as ws:
        assert ws.recv(timeout=30) == "watching"
        ws.socket.close()
    assert until_ended(url) == [cut_off, "torn down"]


@pytest.mark.parametrize("server", ["gunicorn-gthread", "uvicorn"])
def test_open_sockets_hear_that_the_server_ends(server: str, serve: Callable[..., str]) -> None:
    """Both kinds of handlers say so to their clients, and the server ends in time."""
    url = serve(APP, server)
    with opened(url, "/sync/echo") as plain, opened(url, "/async/echo") as awaiting:
        for ws in (plain, awaiting):
            ws.send("here")
            assert ws.recv(timeout=30) == "here"
        asked(f"{url}/end")
        # uvicorn may be faster than we are, and says that it restarts.
        codes = {1001, 1012} if server == "uvicorn" else {1001}
        assert {closing(plain)[0], closing(awaiting)[0]} <= codes


def until_let_in(url: str, path: str) -> str | bytes:
    """The answer to the first that is admitted, a moment after the holder of the permit left."""
    while True:
        try:
            with opened(url, path) as ws:
                return ws.recv(timeout=30)
        except InvalidStatus:
            continue


def until_ended(url: str, count: int = 2) -> list[str]:
    """What one handler and its request recorded at their end."""
    heard: list[str] = []
    while len(heard) < count:
        heard += json.loads(asked(f"{url}/ended"))
    return heard
