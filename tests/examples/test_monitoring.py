"""The Grafana dashboard asks for what is exported, for all of it, and for nothing else."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest
from examples.monitoring.make_dashboard import PANELS, TARGET, dashboard
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from flask_concurrency import Concurrency, InFlight
from flask_concurrency.exporters.prometheus import Exposition
from flask_concurrency.telemetry.metrics import METRICS

QUERIES = [query for _, _, queries in PANELS for _, query in queries]
FUNCTIONS = {"sum", "rate", "increase", "topk", "histogram_quantile", "max", "vector", "by", "or"}
"""What in a query is PromQL's."""


def exported() -> dict[str, set[str]]:
    """Names of samples and their labels: of every metric, and of the gauges of a real scrape."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)
    concurrency.metrics(app)
    app.get("/")(concurrency.limit(InFlight(2, max_queue=2, max_wait=0.1))(lambda: "in"))

    @concurrency.job
    def report() -> None: ...

    with app.app_context():
        report.submit()
    client = app.test_client()
    client.get("/")
    every = {(each.name, *each.labels): (1,) * each.width for each in METRICS.values()}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for text in (client.get("/metrics").text, Exposition().write(every).decode()):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] |= sample.labels.keys()
    app.extensions["concurrency_jobs"].ledger.close()
    return found


def family(name: str) -> str:
    """The metric that a sample belongs to: a histogram has several."""
    return re.sub(r"_(?:bucket|sum|count|created)$", "", name)


def names_in(query: str) -> set[str]:
    """The metrics that a query asks for."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|by \([^)]*\)', "", query)
    return {word for word in re.findall(r"[a-z_]{2,}", bare) if word not in FUNCTIONS}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_names_and_labels_that_are_exported(query: str) -> None:
    """A panel whose name was changed would be empty, and nothing would say so."""
    known = exported()
    names = names_in(query)
    assert names
    assert names <= known.keys()
    labels = set.union(*(known[name] for name in names))
    asked = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
    asked |= set(re.findall(r'(\w+)(?:=~|!=|=)"', query))
    assert asked <= labels
    assert all(query.count(left) == query.count(right) for left, right in ("()", "{}", "[]"))


@pytest.mark.parametrize(
    ("legend", "query"), [line for _, _, queries in PANELS for line in queries]
)
def test_a_legend_names_labels_that_the_query_leaves(legend: str, query: str) -> None:
    """Grafana writes nothing for one that is not there."""
    kept = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
    if " by " not in query:  # it keeps them all
        kept = set.union(*(exported()[name] for name in names_in(query)), set())
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept


def test_everything_that_is_exported_is_shown() -> None:
    """A metric without a panel is one that no reader of the dashboard knows of."""
    shown = {family(name) for query in QUERIES for name in names_in(query)}
    assert {family(name) for name in exported()} - shown == set()


def test_the_file_is_what_the_script_writes() -> None:
    """To change a panel, change the script."""
    assert json.loads(TARGET.read_text()) == dashboard()
