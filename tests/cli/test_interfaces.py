"""The interface that an app is served by follows from what it does, and the reason is printed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from flask import Flask, Response, stream_with_context
from flask.views import MethodView

from flask_concurrency import Concurrency
from flask_concurrency.cli.chosen_app import state_of
from flask_concurrency.cli.interfaces import Choice, choose

Add = Callable[[Flask, Concurrency], None]


def add_plain(app: Flask, concurrency: Concurrency) -> None:
    @app.get("/plain")
    def plain() -> str:
        return "".join(str(n) for n in range(3))

    @app.get("/async")
    async def on_loop() -> str:
        return ""


def add_socket(app: Flask, concurrency: Concurrency) -> None:
    app.add_url_rule(
        "/chat", "chat", concurrency.websocket(lambda ws: None), websocket=True, methods=["GET"]
    )


def add_generator(app: Flask, concurrency: Concurrency) -> None:
    @app.get("/export")
    @concurrency.limit("5/minute")
    def export() -> Response:
        def rows() -> Iterator[str]:
            yield "row"

        return Response(rows())


def add_stream_of_helper(app: Flask, concurrency: Concurrency) -> None:
    @app.get("/export")
    def export() -> Response:
        return Response(stream_with_context(iter("abc")))


def add_method(app: Flask, concurrency: Concurrency) -> None:
    class Export(MethodView):
        async def get(self) -> Response:
            async def rows() -> AsyncIterator[str]:
                yield "row"

            return Response(rows())  # type: ignore[arg-type]

    app.add_url_rule("/export", view_func=Export.as_view("export"))


@pytest.mark.parametrize(
    ("add", "asgi", "because"),
    [
        (add_plain, False, "quickest for plain views"),
        (add_socket, True, "WSGI serves no WebSockets, as /chat"),
        (add_generator, True, "it streams (export)"),
        (add_stream_of_helper, True, "it streams (export)"),
        (add_method, True, "it streams (export)"),
    ],
)
def test_an_app_is_served_as_it_needs(add: Add, asgi: bool, because: str) -> None:
    """A stream that fails must look failed, and WebSockets must be served."""
    concurrency = Concurrency(app := Flask(__name__, static_folder=None), store="memory://")
    add(app, concurrency)
    choice = choose(app, state_of(app), None)
    assert (choice.asgi, because in choice.because) == (asgi, True), choice


@pytest.mark.parametrize("add", [add_socket, add_generator])
def test_what_was_asked_for_wins(add: Add) -> None:
    """With a warning of what does not work so."""
    concurrency = Concurrency(app := Flask(__name__, static_folder=None), store="memory://")
    add(app, concurrency)
    assert choose(app, state_of(app), True) == Choice(True, "as asked.")
    wsgi = choose(app, state_of(app), False)
    assert not wsgi.asgi
    assert "Warning: " in wsgi.because
    assert "--asgi" in wsgi.because


def test_an_app_without_the_extension_has_no_choice() -> None:
    """A warning says what its streams lack."""
    app = Flask(__name__)

    @app.get("/")
    def export() -> Response:
        return Response(stream_with_context(iter("abc")))

    choice = choose(app, None, None)
    assert not choice.asgi
    assert choice.because.startswith("since ASGI needs the extension. Warning: an answer of export")
