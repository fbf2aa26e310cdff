"""The front page shows what its services have answered in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask

NAMES = ["weather", "news", "traffic", "events", "offers"]
SOON = 30.0


class Services:
    """Five services on loopback.

    :ivar failing: Those that answer 500.
    :ivar hanging: Those that do not answer until ``released``.
    """

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.released = threading.Event()
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                services.answer(self, self.path[1:])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False  # so that all have ended when the server is closed

    def answer(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if name in self.hanging:
            self.released.wait(SOON)
        body = f'"the {name}"'.encode()
        request.send_response(500 if name in self.failing else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    thread = threading.Thread(target=services.server.serve_forever, args=(0.01,))
    thread.start()
    yield services
    services.released.set()
    services.server.shutdown()
    thread.join()
    services.server.server_close()


@pytest.fixture
def app(load_example: Callable[[str], Flask], services: Services) -> Flask:
    """The example, with services that do what a test says."""
    app = load_example("aggregator/app")
    app.config["SERVICES_URL"] = f"http://127.0.0.1:{services.server.server_port}"
    app.config["PATIENCE"] = SOON
    return app


def page(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/")
    assert answer.status_code == 200
    return dict(answer.get_json())


def test_the_page_has_what_all_services_answered(app: Flask) -> None:
    """All five, by name."""
    assert page(app) == {"page": {name: f"the {name}" for name in NAMES}, "missing": []}


def test_a_service_that_fails_is_an_empty_place(app: Flask, services: Services) -> None:
    """The others are shown all the same."""
    services.failing = {"news", "events"}

    shown = page(app)

    assert shown["missing"] == []
    assert [name for name in NAMES if shown["page"][name] is None] == ["news", "events"]


@pytest.mark.slow
def test_a_service_that_hangs_is_missing(app: Flask, services: Services) -> None:
    """The page does not wait for it; whatever was not ready is named."""
    services.hanging = {"offers"}
    app.config["PATIENCE"] = 1.0

    shown = page(app)

    assert "the offers" not in shown["page"].values()
    assert sorted([*shown["page"], *shown["missing"]]) == sorted(NAMES)
    assert not services.released.is_set()


def test_a_mistake_in_the_page_is_an_error(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for a service that is missing."""
    monkeypatch.setattr("json.load", lambda _: 1 / 0)
    app.testing = True

    with pytest.raises(ZeroDivisionError) as caught:
        app.test_client().get("/")
    assert caught.value.__notes__[0].startswith("Raised by task #")


def test_the_services_of_the_example_are_the_ones_it_asks(
    load_example: Callable[[str], Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name has an answer, and no other."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    client = load_example("aggregator/services").test_client()

    assert [client.get(f"/{name}").json["service"] for name in NAMES] == NAMES  # type: ignore[index]
    assert client.get("/others").status_code == 404
