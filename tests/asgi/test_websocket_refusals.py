"""What keeps a WebSocket on ASGI from being opened, and what its client gets then."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Flask, abort, session
from flask.typing import ResponseReturnValue

from asgi_socket import SocketExchange, opened, refused
from flask_concurrency import (
    Concurrency,
    ConfigurationError,
    WebSocket,
)
from flask_concurrency.asgi.interface import AsgiApplication
from websocket_echo import echo

Run = Callable[[Coroutine[Any, Any, Any]], Any]
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


def test_one_socket_more_than_threads_is_refused(app: Flask, run: Run) -> None:
    """The server says that it is busy; the app itself has nothing to do with it."""
    app.config["CONCURRENCY_WEBSOCKET_THREADS"] = 1
    concurrency = Concurrency(app)
    asgi = concurrency.asgi_app(app)
    echo(app, concurrency, "sync")

    async def story() -> None:
        async with opened(asgi, "/echo") as socket:
            answer = await refused(asgi, "/echo")
            assert answer["status"] == 503
            assert b"retry-after" in dict(answer["headers"])
            socket.say("still here")
            assert await socket.hear() == "still here"

    run(story())
    app.extensions["concurrency"].executors.sockets.shutdown()


@BOTH
def test_a_permit_is_held_to_the_end_of_the_socket(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The next one is refused by the limit's own answer, and admitted afterwards."""
    echo(app, concurrency, kind)
    concurrency.limit("1 in flight")(app.view_functions["/echo"])

    async def story() -> None:
        async with opened(asgi, "/echo"):
            answer = await refused(asgi, "/echo")
            assert answer["status"] == 503
            assert b"ratelimit" in dict(answer["headers"])
            assert await refused(asgi, "/echo", denial=False) == {
                "type": "websocket.close",
                "code": 1013,
            }
        async with opened(asgi, "/echo"):
            pass

    run(story())


@BOTH
def test_a_rate_refuses_with_its_own_status(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The client's own quota is spent: 429."""
    echo(app, concurrency, kind)
    concurrency.limit("1/day")(app.view_functions["/echo"])

    async def story() -> int:
        async with opened(asgi, "/echo"):
            pass
        status: int = (await refused(asgi, "/echo"))["status"]
        return status

    assert run(story()) == 429


@BOTH
def test_a_hook_can_refuse(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The handler never runs, and the client gets the answer, or 403 by servers that have none."""
    echo(app, concurrency, kind)

    @app.before_request
    def log_in() -> ResponseReturnValue | None:
        return None if "user" in session else abort(401)

    async def story() -> None:
        assert (await refused(asgi, "/echo"))["status"] == 401
        answer = await refused(asgi, "/echo", denial=False)
        assert answer == {"type": "websocket.close", "code": 1008}

    run(story())


@pytest.mark.parametrize(
    ("origin", "scheme", "status"),
    [
        (None, "ws", None),
        ("http://testserver", "ws", None),
        ("https://testserver", "wss", None),
        ("https://testserver", "ws", None),  # a proxy in front ended TLS without a header
        ("http://testserver", "wss", 403),
        ("http://testserver:8080", "ws", 403),
        ("http://testserver.evil.example", "ws", 403),
        ("http://evil.example", "ws", 403),
        ("https://shop.example", "ws", None),
        ("https://shop.example.evil.example", "ws", 403),
        ("https://a.shop.example", "ws", None),
        ("https://a.shop.example:1", "ws", 403),
        ("null", "ws", 403),
        ("", "ws", 403),
        ("http://[", "ws", 403),
    ],
)
def test_pages_of_other_origins_are_refused_unless_they_are_named(
    origin: str | None,
    scheme: str,
    status: int | None,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    run: Run,
) -> None:
    """The same origin always may; others by their whole name; clients without one are no pages."""
    echo(
        app,
        concurrency,
        "async",
        origins=["https://shop.example", re.compile(r"https://[a-z]+\.shop\.example")],
    )
    fields = [] if origin is None else [("Origin", origin)]

    async def story() -> None:
        if status is None:
            async with opened(asgi, "/echo", fields=fields, scheme=scheme):
                pass
        else:
            answer = await refused(asgi, "/echo", fields=fields, scheme=scheme)
            assert answer["status"] == status

    run(story())


@BOTH
def test_a_client_that_leaves_before_it_is_let_in_is_no_error(
    kind: str, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run, ended: Any
) -> None:
    """The handler never runs; the request ends as any other."""
    echo(app, concurrency, kind)

    async def story() -> None:
        socket = SocketExchange(asgi, "/echo")
        socket.leave(1006)
        assert await socket.end() == []

    run(story())
    assert ended == [None]


def test_a_plain_page_is_told_what_is_missing(app: Flask, concurrency: Concurrency) -> None:
    """A route without ``websocket=True`` never gets a WebSocket."""

    @app.route("/")
    @concurrency.websocket
    def handler(ws: WebSocket) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="websocket=True"):
        app.test_client().get("/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"origins": "shop.example"},
        {"origins": "https://shop.example/"},
        {"subprotocols": [""]},
        {"subprotocols": [1]},
        {"max_message_size": 0},
        {"max_message_size": True},
        {"max_message_size": 1.5},
    ],
)
def test_an_option_that_is_wrong_fails_where_it_is_written(
    wrong: dict[str, Any], concurrency: Concurrency
) -> None:
    """And not when the first client comes."""
    with pytest.raises(ConfigurationError, match=str(next(iter(wrong)).rstrip("s"))):
        concurrency.websocket(lambda ws: None, **wrong)
