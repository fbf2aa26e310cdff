"""An executor that takes no more tasks is an overload like any other: 503 and ``Retry-After``."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_concurrency import Concurrency, QueueFull, ServerBusy


@pytest.fixture
def app() -> Flask:
    """An app with one thread that is taken, and no queue."""
    app = Flask(__name__)
    app.testing = True
    app.config["CONCURRENCY_THREADS"] = {"max_workers": 1, "max_queue": 0}
    return app


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    """A client of it."""
    concurrency, go_on = Concurrency(app), threading.Event()

    @app.get("/")
    @concurrency.limit("100/minute")
    def view() -> str:
        return str(concurrency.threads.submit(int).result(30))

    @app.get("/caught")
    def caught() -> str:
        with pytest.raises(QueueFull):
            concurrency.threads.submit(int)
        return "caught"

    busy = concurrency.threads.submit(go_on.wait, 30)
    yield app.test_client()
    go_on.set()
    assert busy.result(30)
    concurrency.threads.shutdown()


def test_a_full_queue_is_a_busy_server(client: FlaskClient) -> None:
    """As problem details, like other refusals."""
    answer = client.get("/")
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.json is not None
    assert answer.json["type"].endswith("#temporary-reduced-capacity")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3
    assert "Retry-After" not in client.get("/caught").headers


def test_the_apps_own_handlers_come_first(app: Flask, client: FlaskClient) -> None:
    """Its handler of 503 sees the refusal, and what caused it."""

    @app.errorhandler(503)
    def busy(error: ServerBusy) -> tuple[str, int]:
        assert isinstance(error.__cause__, QueueFull)
        return "come back", 503

    assert client.get("/").text == "come back"


def test_an_error_handler_of_the_error_itself_wins(app: Flask, client: FlaskClient) -> None:
    """As for any exception of the app's own."""
    app.register_error_handler(QueueFull, lambda error: (str(error.max_queue), 418))
    assert client.get("/").status_code == 418
