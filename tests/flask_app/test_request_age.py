"""How long a request has waited, as its proxy says."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.http.request_age import request_age
from flask_concurrency.vocabulary.clock import wall

NOW = 1_700_000_010.0
STARTED = [  # what the proxy wrote -> seconds
    ("t=1700000000.000", 10.0),
    ("1700000000.5", 9.5),
    ("1700000000000", 10.0),
    ("t=1700000000500000", 9.5),
    (" t=1700000000500000000 ", 9.5),
    ("1700000020", 0.0),
    ("yesterday", None),
    ("", None),
    ("t=", None),
    ("12", None),
    ("9" * 400, None),
    ("-1700000000", None),
    ("1700000000; drop", None),
]


@pytest.mark.parametrize(("started", "age"), STARTED)
def test_proxies_instants_are_read(started: str, age: float | None) -> None:
    """Seconds, milliseconds, microseconds; what is no instant has no age."""
    assert request_age(started, NOW) == (None if age is None else pytest.approx(age))


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://shop.example"}])
def test_a_request_that_waited_too_long_is_refused(headers: dict[str, str]) -> None:
    """Its client has given up; a page of another origin may still read why."""
    app = Flask(__name__)
    app.config["CONCURRENCY_MAX_REQUEST_AGE"] = 30
    concurrency = Concurrency(app)
    concurrency.cors(app, origins="https://shop.example")
    app.get("/")(lambda: "hello")
    client = app.test_client()

    def ask(age: float) -> tuple[int, str | None]:
        started = {"X-Request-Start": f"t={wall() - age:.3f}"}
        response = client.get("/", headers={**headers, **started})
        if response.status_code == 503:
            assert "31." in response.json["detail"]  # type: ignore[index]
            assert int(response.headers["Retry-After"]) in range(1, 4)
        return response.status_code, response.headers.get("Access-Control-Allow-Origin")

    allowed = headers.get("Origin")
    assert ask(31.5) == (503, allowed)
    assert ask(1.0) == (200, allowed)
    assert client.get("/", headers={"X-Request-Start": "soon"}).status_code == 200
