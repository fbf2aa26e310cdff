"""Write the Grafana dashboard beside this file.

Run it as ``python -m examples.monitoring.make_dashboard``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("grafana.json")

REQUESTS = "http_server_request_duration_seconds"
SIZES = "http_server_response_body_size_bytes"
LIMITS = "flask_concurrency_limit_requests_total"
JOBS = "flask_concurrency_jobs"
CONNECTIONS = "flask_concurrency_connections_total"

PANELS = [
    ("Requests a second, by status", "reqps", [
        ("{{http_response_status_code}}",
         f"sum by (http_response_status_code) (rate({REQUESTS}_count[$__rate_interval]))"),
    ]),
    ("Refused, by limit and reason", "reqps", [
        ("{{limit}}: {{result}}",
         f'sum by (limit, result) (rate({LIMITS}{{result!="admitted"}}[$__rate_interval]))'),
    ]),
    ("Refused, of all requests", "percentunit", [
        ("refused",
         f'(sum(rate({REQUESTS}_count{{http_response_status_code=~"429|503"}}[$__rate_interval])) '
         f"or vector(0)) / sum(rate({REQUESTS}_count[$__rate_interval]))"),
    ]),
    ("Time to answer: median and 99th percentile", "s", [
        ("p50",
         f"histogram_quantile(0.5, sum by (le) (rate({REQUESTS}_bucket[$__rate_interval])))"),
        ("p99",
         f"histogram_quantile(0.99, sum by (le) (rate({REQUESTS}_bucket[$__rate_interval])))"),
    ]),
    ("Slowest routes: 99th percentile", "s", [
        ("{{http_route}}",
         "topk(5, histogram_quantile(0.99, sum by (le, http_route) "
         f"(rate({REQUESTS}_bucket[$__rate_interval]))))"),
    ]),
    ("Permits held, of those there are", "percentunit", [
        ("{{endpoint}}: {{limit}}",
         "flask_concurrency_limit_in_flight / flask_concurrency_limit_max_in_flight"),
    ]),
    ("Waiting for a permit", "short", [
        ("{{endpoint}}: {{limit}}", "flask_concurrency_limit_waiting"),
    ]),
    ("Deadlines missed a second", "reqps", [
        ("{{http_route}}",
         "sum by (http_route) (rate(flask_concurrency_deadlines_missed_total[$__rate_interval]))"),
    ]),
    ("Jobs queued and running, workers alive", "short", [
        # Every host tells of the same jobs: they are not added up.
        ("queued", f"max({JOBS}_queued)"),
        ("running", f"max({JOBS}_running)"),
        ("workers", f"max({JOBS}_workers)"),
    ]),
    ("Longest wait of a job that could start", "s", [
        ("longest wait", f"max({JOBS}_longest_wait_seconds)"),
    ]),
    ("Jobs a minute, by event", "short", [
        ("{{event}}", f"sum by (event) (60 * rate({JOBS}_events_total[$__rate_interval]))"),
    ]),
    ("Jobs a minute that failed or lost their worker", "short", [
        ("{{job}}: {{event}}",
         f'sum by (job, event) (60 * rate({JOBS}_events_total{{event=~"failed|rescued"}}'
         "[$__rate_interval]))"),
    ]),
    ("Waited for a permit: 99th percentile", "s", [
        ("{{limit}}",
         "histogram_quantile(0.99, sum by (le, limit) "
         "(rate(flask_concurrency_limit_wait_duration_seconds_bucket[$__rate_interval])))"),
    ]),
    ("Size of responses: mean of the largest routes", "bytes", [
        ("{{http_route}}",
         f"topk(5, sum by (http_route) (rate({SIZES}_sum[$__rate_interval])) "
         f"/ sum by (http_route) (rate({SIZES}_count[$__rate_interval])))"),
    ]),
    ("Tasks a second, by executor and how they ended", "ops", [
        ("{{executor}}: {{result}}",
         "sum by (executor, result) "
         "(rate(flask_concurrency_executor_tasks_total[$__rate_interval]))"),
    ]),
    ("Tasks: time waited and run, 99th percentile", "s", [
        (f"{{{{executor}}}}: {what}",
         "histogram_quantile(0.99, sum by (le, executor) "
         f"(rate(flask_concurrency_executor_{name}_duration_seconds_bucket[$__rate_interval])))")
        for what, name in (("waited", "wait"), ("ran", "run"))
    ]),
    ("Lost: worker processes and stores", "short", [
        ("workers of {{executor}}",
         "increase(flask_concurrency_executor_workers_lost_total[$__rate_interval])"),
        ("store", "increase(flask_concurrency_store_outages_total[$__rate_interval])"),
    ]),
    ("Event streams and WebSockets open", "short", [
        ("{{kind}}",
         f'sum by (kind) ({CONNECTIONS}{{event="opened"}}) '
         f'- (sum by (kind) ({CONNECTIONS}{{event="closed"}}) '
         f'or 0 * sum by (kind) ({CONNECTIONS}{{event="opened"}}))'),
    ]),
]  # fmt: skip
"""Title, unit, and for each line its legend and its query."""


def dashboard() -> dict[str, Any]:
    """The dashboard, two panels a row."""
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(65 + place), "expr": query, "legendFormat": legend}
                for place, (legend, query) in enumerate(queries)
            ],
        }
        for number, (title, unit, queries) in enumerate(PANELS)
    ]
    return {
        "title": "Flask-Concurrency",
        "uid": "flask-concurrency",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def main() -> None:
    """Write the file."""
    TARGET.write_text(json.dumps(dashboard(), indent=2) + "\n")


if __name__ == "__main__":
    main()
