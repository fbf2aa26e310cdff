"""Adaptive limits on ASGI: asked on the loop, before anything is made of the request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from standing_queue import Overload


def make_app() -> tuple[Flask, Concurrency, Any]:
    """An app with one view on the loop and one on a thread."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app, app_limits="adaptive")
    concurrency.health(app)

    @app.get("/loop")
    async def loop() -> str:
        await asyncio.sleep(0)
        return "loop"

    @app.get("/thread")
    def thread() -> str:
        return "thread"

    @app.get("/broken")
    async def broken() -> str:
        raise RuntimeError("broken")

    return app, concurrency, concurrency.asgi_app(app)


def ask(
    asgi: Any, path: str, *headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request and collect what is answered."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": version,
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if len(sent) < 1 or not sent[-1].get("more_body", True):
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(asgi(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body


@pytest.mark.parametrize("path", ["/loop", "/thread", "/nowhere"])
def test_nothing_stays_inside(path: str) -> None:
    """On the loop, on a thread, and where there is no view."""
    app, _, asgi = make_app()
    told = Overload(app)
    for _ in range(5):
        ask(asgi, path)
    assert told.limit.admitted == 5
    assert told.limit.inside == 0
    assert told.ages.ended_ones == 5


def test_an_error_gives_the_place_back() -> None:
    """Of the view, and of a client that takes nothing."""
    app, _, asgi = make_app()
    told = Overload(app)
    app.testing = False
    ask(asgi, "/broken")
    assert told.limit.inside == 0


@pytest.mark.parametrize("path", ["/loop", "/thread"])
def test_a_refusal_ends_its_connection(path: str) -> None:
    """So that a loop that is busy with connections it knows accepts new ones; HTTP/2 has none."""
    app, _, asgi = make_app()
    Overload(app).stand()
    status, headers, body = ask(asgi, path)
    assert status == 503
    assert headers[b"connection"] == b"close"
    assert headers[b"retry-after"] in {b"1", b"2", b"3"}
    assert int(headers[b"content-length"]) == len(body)
    assert json.loads(body)["violated-policies"] == ["app:adaptive"]
    assert b"connection" not in ask(asgi, path, version="2")[1]
    assert ask(asgi, path, method="HEAD")[2] == b""
    assert ask(asgi, path, (b"accept", b"text/html"))[1][b"content-type"].startswith(b"text/html")


def test_priorities_and_exemptions_are_known() -> None:
    """As on WSGI."""
    app, concurrency, asgi = make_app()

    @app.get("/pay")
    @concurrency.priority("critical")
    async def pay() -> str:
        return "paid"

    @app.get("/free")
    @concurrency.exempt
    async def free() -> str:
        return "free"

    Overload(app).stand(age=0.35)
    assert [ask(asgi, path)[0] for path in ("/pay", "/free", "/loop")] == [200, 200, 503]


def test_health_checks_are_answered_on_the_loop() -> None:
    """Whatever stands before the app."""
    app, _, asgi = make_app()
    Overload(app).stand()
    assert ask(asgi, "/livez")[::2] == (200, b'{"status": "ok"}')
    assert ask(asgi, "/readyz", method="HEAD")[::2] == (200, b"")


def test_a_refusal_for_another_origin_has_its_fields() -> None:
    """Flask gives them to it."""
    app, concurrency, asgi = make_app()
    concurrency.cors(app, origins="https://shop.example")
    Overload(app).stand()
    origin = (b"origin", b"https://shop.example")
    status, headers, _ = ask(asgi, "/loop", origin)
    fields = {name.lower(): value for name, value in headers.items()}
    assert status == 503
    assert fields[b"access-control-allow-origin"] == b"https://shop.example"
    preflight = ask(
        asgi, "/loop", origin, (b"access-control-request-method", b"GET"), method="OPTIONS"
    )
    assert preflight[0] == 200


def test_a_client_that_has_gone_is_not_served() -> None:
    """No view is called for it."""
    app, _, asgi = make_app()
    told = Overload(app)
    told.ages.gone = True
    ask(asgi, "/loop")
    assert (told.limit.gone, told.limit.admitted) == (1, 0)


def test_without_adaptive_limits_all_goes_on() -> None:
    """An app that has none is not asked about."""
    app = Flask(__name__)
    app.testing = True
    concurrency = Concurrency(app)
    app.get("/")(lambda: "here")
    assert ask(concurrency.asgi_app(app), "/")[::2] == (200, b"here")


@pytest.mark.parametrize("on_asgi", [False, True], ids=["WSGI", "ASGI"])
def test_refusals_before_flask_are_in_the_metrics(on_asgi: bool) -> None:
    """Though no route was looked for, and on ASGI no WSGI middleware saw them."""
    app, concurrency, asgi = make_app()
    concurrency.metrics(app, access=lambda: True)
    told = Overload(app)
    told.stand()
    for _ in range(3):
        if on_asgi:
            assert ask(asgi, "/loop")[0] == 503
        else:
            assert app.test_client().get("/loop").status_code == 503
    text = app.test_client().get("/metrics").text  # exempt, so it is let in
    decided = [line for line in text.splitlines() if 'limit="app:adaptive"' in line]
    (refused,) = [line for line in decided if 'result="shed"' in line]
    assert float(refused.rpartition(" ")[2]) == 3.0
    assert 'http_response_status_code="503"' in text
