"""``concurrency.metrics``: what is counted of requests, and which clients may see it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app import metrics_endpoint
from flask_concurrency.vocabulary.errors import StoreUnavailable

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


def test_a_scrape_during_an_outage_shows_what_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts are not in the store: only what the limits hold now is left out, and logged."""
    app = Flask("shop")
    app.config["CONCURRENCY_STORE"] = "redis://127.0.0.1:1/0"  # where no server is
    concurrency = Concurrency(app)
    concurrency.metrics(app)
    app.get("/busy")(concurrency.limit("3 in flight")(lambda: "busy"))
    assert app.test_client().get("/busy").status_code == 200
    assert count(app, "/busy", "200") == 1
    assert value(app, "flask_concurrency_store_outages_total") == 1

    def unreachable(*_: object, **__: object) -> list[object]:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(metrics_endpoint, "look", unreachable)
    with caplog.at_level(logging.WARNING):
        assert count(app, "/busy", "200") == 1
        assert not [name for name, _ in scraped(app) if name.endswith("in_flight")]
    assert "Metrics of limits are left out: gone" in caplog.text
    app.extensions["concurrency"].store.close()  # which looks for its server meanwhile
    app.extensions["concurrency"].counters.close()


def test_an_exposition_passes_the_checks_of_promtool(app: Flask) -> None:
    """Names say their unit, counters end in _total, each family is explained, and a histogram's
    buckets only grow, up to its count."""
    client = app.test_client()
    for path in ("/items/3", "/items/4", "/items/5", "/busy", "/broken", "/nowhere"):
        client.get(path)
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_milliseconds"))
        assert family.type not in family.name
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names <= {f"{family.name}_total", f"{family.name}_created"}
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes"))
            _check_buckets(family)
        labels = [label for sample in family.samples for label in sample.labels]
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in labels)


def _check_buckets(family: Metric) -> None:
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    counts: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        if sample.name.endswith("_bucket"):
            found.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        if sample.name.endswith("_count"):
            counts[labels] = sample.value
    assert found.keys() == counts.keys() != set()
    for labels, buckets in found.items():
        assert buckets == sorted(buckets)
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (float("inf"), counts[labels])
