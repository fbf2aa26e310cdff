"""Say what is counted: each metric's name, labels, unit and meaning. Counts nothing itself.

Labels are names that the application chose (route templates, limits, executors) or words of a fixed
set. None comes from a client, so that no client can make new ones: a path is never a label, and an
HTTP method that is not of the known ones is ``_OTHER``.

The names of HTTP metrics and of their labels are those of OpenTelemetry's semantic conventions for
HTTP metrics (https://opentelemetry.io/docs/specs/semconv/http/http-metrics/), buckets included.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from flask_concurrency.telemetry.names import Change

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of the buckets of times; one more bucket takes what is longer."""

BYTES: Final = (100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
"""Upper bounds of the buckets of sizes."""

OTHER: Final = "_OTHER"
METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is counted.

    :ivar name: Dotted, as OpenTelemetry writes it.
    :ivar kind: A counter of events, or a histogram of what they took.
    :ivar labels: What distinguishes its series.
    :ivar unit: ``"s"``, ``"By"``, or what is counted, such as ``"{request}"``.
    :ivar help: What it means, one line.
    :ivar bounds: Upper bounds of a histogram's buckets.
    """

    name: str
    kind: Literal["counter", "histogram"]
    labels: tuple[str, ...]
    unit: str
    help: str
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a series has: a bucket each, one for what is larger, and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1

    def once(self, *labels: str, amount: int = 1) -> Change:
        """What to add for an event."""
        return (self.name, *labels), 1, 0, amount

    def observed(self, value: float, *labels: str) -> tuple[Change, Change]:
        """What to add for an event that took ``value``, in the metric's unit.

        Sums are whole numbers: of microseconds, where the unit is seconds.
        """
        return self.series(*labels)(value)

    def series(self, *labels: str) -> Callable[[float], tuple[Change, Change]]:
        """What gives, for the value of each event, what to add to a histogram's series."""
        name, width, bounds = (self.name, *labels), self.width, self.bounds
        factor = 1e6 if self.unit == "s" else 1.0

        def observed(value: float) -> tuple[Change, Change]:
            exact = int(value * factor + 0.5) if value > 0 else 0
            return (
                (name, width, bisect_left(bounds, value), 1),
                (name, width, width - 1, exact),
            )

        return observed

    def sum_of(self, numbers: tuple[float, ...]) -> float:
        """The sum of what a histogram has observed, in the metric's unit."""
        return numbers[-1] / 1e6 if self.unit == "s" else float(numbers[-1])


REQUEST_DURATION: Final = Metric(
    "http.server.request.duration",
    "histogram",
    ("http.request.method", "http.route", "http.response.status_code"),
    "s",
    "Time from a request's arrival at the application to its response.",
    SECONDS,
)
RESPONSE_SIZE: Final = Metric(
    "http.server.response.body.size",
    "histogram",
    ("http.request.method", "http.route"),
    "By",
    "Size of response bodies whose length was known when they began.",
    BYTES,
)
LIMIT_DECISIONS: Final = Metric(
    "flask_concurrency.limit.requests",
    "counter",
    ("limit", "http.route", "result"),
    "{request}",
    "Requests that a limit admitted or refused, by reason.",
)
LIMIT_WAITS: Final = Metric(
    "flask_concurrency.limit.wait.duration",
    "histogram",
    ("limit",),
    "s",
    "Time that requests waited for a limit, admitted in the end or not.",
    SECONDS,
)
TASKS: Final = Metric(
    "flask_concurrency.executor.tasks",
    "counter",
    ("executor", "result"),
    "{task}",
    "Tasks of an executor that have ended or were refused, by how.",
)
TASK_WAITS: Final = Metric(
    "flask_concurrency.executor.wait.duration",
    "histogram",
    ("executor",),
    "s",
    "Time that tasks waited for a thread or a worker.",
    SECONDS,
)
TASK_RUNS: Final = Metric(
    "flask_concurrency.executor.run.duration",
    "histogram",
    ("executor",),
    "s",
    "Time that tasks ran.",
    SECONDS,
)
DEADLINES_MISSED: Final = Metric(
    "flask_concurrency.deadlines.missed",
    "counter",
    ("http.route",),
    "{request}",
    "Requests that were answered 504 because their deadline had passed.",
)
WORKERS_LOST: Final = Metric(
    "flask_concurrency.executor.workers.lost",
    "counter",
    ("executor",),
    "{worker}",
    "Worker processes that ended with their task: killed for it, or dead in the midst of it.",
)
STORE_OUTAGES: Final = Metric(
    "flask_concurrency.store.outages",
    "counter",
    (),
    "{outage}",
    "Times that the shared store could not be used, and this process went on without it.",
)
CONNECTIONS: Final = Metric(
    "flask_concurrency.connections",
    "counter",
    ("kind", "event"),
    "{connection}",
    "Event streams and WebSockets that were opened and closed.",
)
JOB_EVENTS: Final = ("submitted", "started", "succeeded", "failed", "canceled", "rescued")
JOBS: Final = Metric(
    "flask_concurrency.jobs.events",
    "counter",
    ("job", "event"),
    "{event}",
    "Jobs that were submitted, started, ended, or taken back from a worker that died.",
)

METRICS: Final = {
    metric.name: metric
    for metric in (
        REQUEST_DURATION,
        RESPONSE_SIZE,
        LIMIT_DECISIONS,
        LIMIT_WAITS,
        TASKS,
        TASK_WAITS,
        TASK_RUNS,
        WORKERS_LOST,
        DEADLINES_MISSED,
        STORE_OUTAGES,
        CONNECTIONS,
        JOBS,
    )
}
"""All metrics, by name."""


def known_method(method: str) -> str:
    """A label for an HTTP method: clients may invent others."""
    return method if method in METHODS else OTHER
