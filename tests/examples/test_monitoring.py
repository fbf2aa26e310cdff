"""The Grafana dashboard asks for what is exported, and for nothing else."""

from __future__ import annotations

import json
import re

from examples.monitoring.make_dashboard import PANELS, TARGET, dashboard
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from flask_concurrency import Concurrency, InFlight

WORDS = {
    "by", "sum", "rate", "topk", "histogram_quantile", "le", "http_response_status_code", "limit",
    "result", "http_route", "endpoint", "job", "event", "max",
}  # fmt: skip
"""What in a query is PromQL's, or a label."""


def exported() -> tuple[set[str], set[str]]:
    """Names and labels that a scrape finds, once everything has happened."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app, default_limits="1/day")
    concurrency.metrics(app)

    @app.get("/")
    @concurrency.limit(InFlight(2, max_queue=2, max_wait=0.1))
    @concurrency.deadline(0.0001)
    def late() -> str:
        return "late" if concurrency.threads.submit(sum, [1]).result() else ""

    @concurrency.job
    def report() -> None: ...

    with app.app_context():
        report.submit()
    client = app.test_client()
    client.get("/")
    client.get("/")
    names: set[str] = set()
    labels: set[str] = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            names.add(sample.name)
            labels |= sample.labels.keys()
    app.extensions["concurrency_jobs"].ledger.close()
    return names, labels


def test_every_query_asks_for_names_that_are_exported() -> None:
    """A panel whose name was changed would be empty, and nothing would say so."""
    names, labels = exported()
    asked = {
        word
        for _, _, queries in PANELS
        for _, query in queries
        for word in re.findall(r"[a-z_]{2,}", re.sub(r'"[^"]*"|\[[^]]*\]', "", query))
    }
    assert asked - WORDS <= names
    assert {"http_response_status_code", "limit", "result", "http_route", "endpoint"} <= labels
    assert {"job", "event"} <= labels


def test_the_file_is_what_the_script_writes() -> None:
    """To change a panel, change the script."""
    assert json.loads(TARGET.read_text()) == dashboard()
