"""``concurrency.metrics``: what is counted of requests, and which clients may see it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort
from prometheus_client.parser import text_string_to_metric_families

from flask_concurrency import Concurrency, ConfigurationError

DURATION = "http_server_request_duration_seconds"
ITEM = "/items/<int:number>"
LIMITS = "flask_concurrency_limit_requests_total"


@pytest.fixture
def app() -> Flask:
    """An app with a few routes, which shows its metrics."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app, default_limits="100/day")
    concurrency.metrics(app)

    @app.get(ITEM)
    @concurrency.limit("2/minute")
    def item(number: int) -> str:
        return "x" * number

    @app.get("/busy")
    @concurrency.limit("3 in flight")
    def busy() -> str:
        return "busy"

    @app.get("/broken")
    def broken() -> str:
        abort(500)

    return app


def scraped(app: Flask, **options: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample that Prometheus would read."""
    response = app.test_client().get("/metrics", **options)
    assert response.status_code == 200, response.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(app: Flask, name: str, **labels: str) -> float | None:
    """One sample; ``None`` if there is none."""
    return scraped(app).get((name, frozenset(labels.items())))


def count(app: Flask, route: str, status: str, method: str = "GET") -> float | None:
    """How many requests of a route were answered with a status."""
    return value(
        app,
        f"{DURATION}_count",
        http_request_method=method,
        http_route=route,
        http_response_status_code=status,
    )


def test_requests_are_counted_by_template_method_and_status(app: Flask) -> None:
    """Never by path, which clients invent."""
    client = app.test_client()
    for number in range(4):
        client.get(f"/items/{number}")
    client.get("/broken")
    assert count(app, ITEM, "200") == 2
    assert count(app, ITEM, "429") == 2
    assert count(app, "/broken", "500") == 1


def test_a_client_makes_no_series(app: Flask) -> None:
    """Ten thousand paths and methods are one series each at the most."""
    client = app.test_client()
    for number in range(50):
        client.get(f"/nowhere/{number}")
        client.open("/broken", method=f"HACK{number}")
    routes = {
        dict(labels)["http_route"] for name, labels in scraped(app) if name == f"{DURATION}_count"
    }
    methods = {
        dict(labels)["http_request_method"]
        for name, labels in scraped(app)
        if name == f"{DURATION}_count"
    }
    assert routes <= {"", "/metrics", "/broken"}
    assert methods <= {"GET", "_OTHER"}


def test_a_limit_counts_what_it_admitted_and_refused(app: Flask) -> None:
    """The others spent nothing of a request that one refused."""
    client = app.test_client()
    for _ in range(5):
        client.get("/items/3")
    assert value(app, LIMITS, limit="route:2/minute", http_route=ITEM, result="admitted") == 2
    assert value(app, LIMITS, limit="route:2/minute", http_route=ITEM, result="over_quota") == 3
    assert value(app, LIMITS, limit="default:100/day", http_route=ITEM, result="admitted") == 2


def test_permits_are_a_gauge(app: Flask) -> None:
    """How many are held at this moment, and how many there are."""
    labels = {"endpoint": "busy", "limit": "route:3 in flight"}
    client = app.test_client()
    held = client.get("/busy", buffered=False)
    names = ("flask_concurrency_limit_in_flight", "flask_concurrency_limit_max_in_flight")
    held.close()
    assert value(app, names[1], **labels) == 3
    assert value(app, names[0], **labels) == 0


def test_sizes_are_counted(app: Flask) -> None:
    """Where a response says how long it is."""
    app.test_client().get("/items/250")
    labels = {"http_request_method": "GET", "http_route": ITEM}
    assert value(app, "http_server_response_body_size_bytes_sum", **labels) == 250


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("203.0.113.7", {}),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.7"}),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.7"}),
        ("127.0.0.1", {"Via": "1.1 proxy"}),
    ],
)
def test_strangers_are_kept_out(app: Flask, address: str, headers: dict[str, str]) -> None:
    """A proxy on the same machine passes them on from a loopback address."""
    response = app.test_client().get(
        "/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": address}
    )
    assert response.status_code == 403
    assert "http_server" not in response.text


def test_the_app_may_say_who_sees_it() -> None:
    """A true answer lets the request in, from wherever it comes."""
    app = Flask("shop")
    concurrency = Concurrency(app, store="memory://")
    concurrency.metrics(app, "/private", access=lambda: True)
    get = app.test_client().get
    assert get("/private", environ_overrides={"REMOTE_ADDR": "203.0.113.7"}).status_code == 200


def test_an_access_function_that_fails_lets_no_client_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And is logged: a page that is open by mistake is worse than one that is closed."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)
    concurrency.metrics(app, access=lambda: 1 / 0)
    with caplog.at_level(logging.ERROR):
        assert app.test_client().get("/metrics").status_code == 403
    assert "ZeroDivisionError" in caplog.text


def test_a_path_that_is_taken_is_refused() -> None:
    """When the app starts, with the route that has it."""
    app = Flask("shop")
    app.get("/metrics", endpoint="own")(lambda: Response("mine"))
    concurrency = Concurrency(app)
    with pytest.raises(ConfigurationError, match="'/metrics' is the path of 'own' already"):
        concurrency.metrics(app)
    with pytest.raises(ConfigurationError, match="must begin with a slash"):
        concurrency.metrics(app, "metrics")


def test_metrics_are_exempt_from_limits() -> None:
    """Prometheus asks every fifteen seconds, and most of all under attack."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app, default_limits="1/day")
    concurrency.metrics(app)
    codes = [app.test_client().get("/metrics").status_code for _ in range(3)]
    assert codes == [200, 200, 200]


def test_an_app_that_shows_nothing_counts_nothing() -> None:
    """Its requests pay for what it uses."""
    app = Flask("shop")
    Concurrency(app, default_limits="9/day")
    before = app.wsgi_app
    app.register_blueprint(Blueprint("b", __name__))
    assert app.wsgi_app is before
    assert type(before).__name__ == "JourneyMiddleware"
