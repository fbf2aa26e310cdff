"""What Prometheus reads."""

from __future__ import annotations

from itertools import accumulate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from flask_concurrency.exporters import prometheus
from flask_concurrency.exporters.prometheus import Exposition, Gauge
from flask_concurrency.telemetry.counters import Counters
from flask_concurrency.telemetry.metrics import (
    LIMIT_DECISIONS,
    METRICS,
    REQUEST_DURATION,
    RESPONSE_SIZE,
    known_method,
)


def samples(exposed: bytes) -> list[Sample]:
    """What a scrape finds, as prometheus-client's own parser reads it."""
    return [
        sample
        for family in text_string_to_metric_families(exposed.decode())
        for sample in family.samples
    ]


def value(exposed: bytes, name: str, **labels: str) -> float:
    """The value of one sample."""
    (found,) = [s.value for s in samples(exposed) if s.name == name and s.labels == labels]
    return found


def test_a_counter_has_its_labels() -> None:
    """A limit's name may hold a colon and a slash; a label's value may hold anything."""
    counters = Counters(None)
    counters.add([LIMIT_DECISIONS.once("route:5/minute", "/", "admitted", amount=3)])
    exposed = Exposition().write(counters.totals())
    name = "flask_concurrency_limit_requests_total"
    assert value(exposed, name, limit="route:5/minute", http_route="/", result="admitted") == 3


def test_a_histogram_counts_up_to_each_bound() -> None:
    """Prometheus' buckets are cumulative; ours are not."""
    counters = Counters(None)
    for seconds in (0.001, 0.005, 0.3, 42.0):
        counters.add(REQUEST_DURATION.observed(seconds, "GET", "/items/<id>", "200"))
    exposed = Exposition().write(counters.totals())
    labels = {
        "http_request_method": "GET",
        "http_route": "/items/<id>",
        "http_response_status_code": "200",
    }
    name = "http_server_request_duration_seconds"
    for bound, up_to in (("0.005", 2), ("0.25", 2), ("0.5", 3), ("10.0", 3), ("+Inf", 4)):
        assert value(exposed, f"{name}_bucket", le=bound, **labels) == up_to
    assert value(exposed, f"{name}_count", **labels) == 4
    assert value(exposed, f"{name}_sum", **labels) == 42.306


@given(st.lists(st.floats(0, 1e9), max_size=30))
def test_a_histogram_loses_nothing(sizes: list[float]) -> None:
    """Each value falls into the first bucket whose bound it does not exceed."""
    counters = Counters(None)
    for size in sizes:
        counters.add(RESPONSE_SIZE.observed(size, "GET", "/"))
    for (_, *_labels), numbers in counters.totals().items():
        assert sum(numbers[:-1]) == len(sizes)
        for place, bound in enumerate(RESPONSE_SIZE.bounds, 1):
            assert sum(numbers[:place]) == sum(size <= bound for size in sizes)


@given(st.text(max_size=20))
def test_any_label_is_read_back(route: str) -> None:
    """Quotes, backslashes and line breaks are escaped."""
    counters = Counters(None)
    counters.add(REQUEST_DURATION.observed(0.1, "GET", route, "200"))
    found = {s.labels["http_route"] for s in samples(Exposition().write(counters.totals()))}
    assert found == {route}


@given(st.text(max_size=20), st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
def test_a_series_that_was_written_before_has_its_new_numbers(
    route: str, sizes: list[float]
) -> None:
    """Its text is kept; what it says is that of prometheus-client's own writer at any time."""
    counters, exposition = Counters(None), Exposition()
    for size in sizes:
        counters.add(RESPONSE_SIZE.observed(size, "GET", route))
        numbers = next(iter(counters.totals().values()))
        family = HistogramMetricFamily(
            "http_server_response_body_size_bytes",
            RESPONSE_SIZE.help,
            labels=["http_request_method", "http_route"],
        )
        up_to = list(accumulate(numbers[:-1]))
        bounds = [*map(floatToGoString, RESPONSE_SIZE.bounds), "+Inf"]
        family.add_metric(
            ["GET", route], list(zip(bounds, up_to, strict=True)), RESPONSE_SIZE.sum_of(numbers)
        )
        registry = SimpleNamespace(collect=lambda family=family: [family])
        assert samples(exposition.write(counters.totals())) == samples(generate_latest(registry))


def test_what_is_gone_is_shown_no_more() -> None:
    """The file with its count may be removed, and a gauge may have no value any more."""
    exposition = Exposition()
    gauge = Gauge("flask_concurrency.limit.waiting", "Waiting.", ("limit",), {("a",): 1.0})
    totals = {("flask_concurrency.store.outages",): (3,), **_sizes("/a"), **_sizes("/b")}
    both = exposition.write(totals, [gauge])
    assert exposition.write(_sizes("/b")) == Exposition().write(_sizes("/b"))
    assert exposition.write({}) == b""
    assert exposition.write(totals, [gauge]) == both


def test_series_stand_with_their_family_in_whichever_order_they_come() -> None:
    """Prometheus reads a family whose series are torn apart as two, and refuses it."""
    exposition = Exposition()
    for route in ("/b", "/a", "/c"):
        totals = {**_sizes(route), ("flask_concurrency.store.outages",): (3,), **_sizes("/d")}
        exposed = exposition.write(totals).decode()
        types = [line for line in exposed.split("\n") if line.startswith("# TYPE")]
        assert len(types) == len(set(types)) == 2
        assert exposed.index(f'"{route}"') < exposed.index('"/d"')


def test_more_series_than_are_remembered_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower, and right."""
    monkeypatch.setattr(prometheus, "MOST_SERIES", 3)
    exposition = Exposition()
    for number in range(10):
        totals: dict[tuple[str, ...], tuple[int, ...]] = {}
        for place in range(number):
            totals |= _sizes(f"/{place}")
        assert exposition.write(totals) == Exposition().write(totals)


def _sizes(route: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {(RESPONSE_SIZE.name, "GET", route): (1, 2, 3, 4, 5, 6, 7, 8, 9)}


def test_a_gauge_is_what_it_is_now() -> None:
    """Such as permits that are held."""
    gauge = Gauge("flask_concurrency.limit.in_flight", "Held.", ("limit",), {("report",): 3.0})
    exposed = Exposition().write({}, [gauge])
    assert value(exposed, "flask_concurrency_limit_in_flight", limit="report") == 3


def test_what_another_version_counted_is_left_out() -> None:
    """A metric that this version does not know has no meaning to show."""
    assert Exposition().write({("of.tomorrow", "a"): (1,)}) == b""
    assert Exposition().write({(RESPONSE_SIZE.name, "GET", "/"): (1, 2, 3)}) == b""


def test_every_metric_says_what_it_means() -> None:
    """Names are dotted, help is a sentence, and two metrics never share a name once written."""
    for metric in METRICS.values():
        assert metric.help.endswith(".")
        assert metric.unit
    assert len({name.replace(".", "_") for name in METRICS}) == len(METRICS)


def test_a_client_makes_no_label() -> None:
    """A method that is invented is one of the others."""
    assert known_method("GET") == "GET"
    assert known_method("HACK") == "_OTHER"
