"""Up to a hundred thousand random requests, each ending in its own way, leak no permit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, send_file
from werkzeug.test import create_environ

from flask_concurrency import Concurrency, InFlight

REQUESTS = {"memory://": 100_000, "host://": 30_000}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def make_app(store: str, scratch: Path) -> tuple[Flask, Concurrency]:
    app = Flask(__name__)
    app.config["CONCURRENCY_STORE"] = store
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True
    concurrency = Concurrency(app)
    limited = concurrency.limit(InFlight(4), name="places")

    def view(path: str) -> Callable[[Any], Any]:
        return lambda function: app.get(path, endpoint=path)(limited(function))

    @view("/ok")
    def ok() -> str:
        return "ok"

    @view("/raises")
    def raises() -> str:
        raise ZeroDivisionError

    @view("/aborts")
    def aborts() -> str:
        abort(418)

    @view("/exits")
    def exits() -> str:
        raise SystemExit

    @view("/stream")
    def stream() -> Response:
        return Response(iter(["a", "b", "c"]))

    @view("/broken")
    def broken() -> Response:
        def chunks() -> Iterator[str]:
            yield "a"
            raise ZeroDivisionError

        return Response(chunks())

    @view("/file")
    def file() -> Response:
        return send_file(BytesIO(b"hello"), mimetype="text/plain")

    @view("/block")
    def block() -> str:
        with concurrency.limit("2 in flight", name="inner"):
            return "ok"

    return app, concurrency


PATHS = ["/ok", "/raises", "/aborts", "/exits", "/stream", "/broken", "/file", "/block", "/none"]


@pytest.mark.parametrize("store", ["memory://", "host://"])
def test_a_great_many_endings_leak_no_permit(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors, streams read and abandoned, bodies dropped, refusals; up to six at a time."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    app, _ = make_app(store, tmp_path)
    chance = random.Random(2)
    environs = {
        (path, method): create_environ(path, method=method)
        for path in PATHS
        for method in ("GET", "HEAD")
    }
    open_bodies: list[Any] = []

    def end(body: Any) -> None:
        ending = chance.randrange(4)
        try:
            if ending == 0:
                list(body)
            elif ending == 1:
                next(iter(body), None)
        except ZeroDivisionError:
            pass
        finally:
            if ending != 3:  # else it is dropped without being closed
                body.close()

    for _ in range(REQUESTS[store]):
        environ = dict(environs[chance.choice(PATHS), chance.choice(("GET", "GET", "HEAD"))])
        try:
            body = app(environ, lambda status, headers, exc_info=None: lambda data: None)
        except SystemExit:
            continue
        open_bodies.append(body)
        while len(open_bodies) > chance.randrange(6):
            end(open_bodies.pop(chance.randrange(len(open_bodies))))
    while open_bodies:
        end(open_bodies.pop())
    del body

    with app.test_client().get("/ok") as response:
        assert response.headers["RateLimit"] == '"places:4 in flight";r=3'
    with app.test_client().get("/block") as response:
        assert response.headers["RateLimit"].endswith('"inner:2 in flight";r=1')
