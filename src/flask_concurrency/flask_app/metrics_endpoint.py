"""Show an app's counters to Prometheus, at a path of the app. Knows Flask; counts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, abort

from flask_concurrency.engine.snapshot import look
from flask_concurrency.flask_app.app_snapshot import read_jobs
from flask_concurrency.flask_app.telemetry.access import Access, is_allowed
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

if TYPE_CHECKING:
    from flask_concurrency.exporters.prometheus import Gauge
    from flask_concurrency.flask_app.app_state import AppState

ENDPOINT: Final = "flask_concurrency.metrics"

logger = SafeLogger("flask_concurrency.telemetry")


def add_metrics(
    app: Flask,
    state: AppState,
    path: str,
    access: Access | None,
    exempt: Callable[[Callable[[], Response]], Callable[[], Response]],
) -> None:
    """Add the route, and count the app's requests from now on.

    :param exempt: Exempts the view from limits.
    :raises ConfigurationError: Another route has the path, or prometheus-client is missing.
    """
    from flask_concurrency.exporters.prometheus import CONTENT_TYPE, Exposition

    if not path.startswith("/"):
        raise ConfigurationError(f"metrics: the path {path!r} must begin with a slash: '/metrics'.")
    taken = [rule.endpoint for rule in app.url_map.iter_rules() if rule.rule == path]
    if taken:
        raise ConfigurationError(
            f"metrics: {path!r} is the path of {taken[0]!r} already. Choose another path."
        )

    exposition = Exposition()

    def metrics() -> Response:
        if not is_allowed(access):
            abort(403)
        gauges = [*_of_limits(app, state), *_of_jobs(app)]
        exposed = exposition.write(state.counters.get().totals(), gauges)
        return Response(exposed, content_type=CONTENT_TYPE)

    app.add_url_rule(path, ENDPOINT, exempt(metrics))
    state.counters.count_requests()


def _of_limits(app: Flask, state: AppState) -> Iterator[Gauge]:
    from flask_concurrency.exporters.prometheus import Gauge

    try:
        found = look(state.limiters(app), state.store, key=None)
    except StoreError as error:  # an outage is no reason to show nothing
        logger.warning("Metrics of limits are left out: %s", error)
        return
    inside = {(f.route, f.name): f for f in found if f.period is None}
    yield Gauge(
        "flask_concurrency.limit.in_flight",
        "Requests that hold a permit of a limit now.",
        ("endpoint", "limit"),
        {labels: float(f.used) for labels, f in inside.items()},
    )
    yield Gauge(
        "flask_concurrency.limit.max_in_flight",
        "Permits of a limit.",
        ("endpoint", "limit"),
        {labels: float(f.quota) for labels, f in inside.items()},
    )
    yield Gauge(
        "flask_concurrency.limit.waiting",
        "Requests that wait for a permit of a limit now.",
        ("endpoint", "limit"),
        {labels: float(f.waiting) for labels, f in inside.items() if f.max_queue},
    )


def _of_jobs(app: Flask) -> Iterator[Gauge]:
    from flask_concurrency.exporters.prometheus import Gauge

    jobs = read_jobs(app)
    if jobs is None:
        return
    if not jobs.available:
        logger.warning("Metrics of how jobs stand are left out: they cannot be read.")
        return
    values = (
        ("queued", "Jobs that wait, for their time or for a worker.", jobs.queued),
        ("running", "Jobs that run.", jobs.running),
        (
            "longest_wait_seconds",
            "Time for which the longest-waiting job could have started.",
            jobs.longest_wait,
        ),
        ("workers", "Workers for jobs that are alive.", jobs.workers),
    )
    for name, meaning, value in values:
        if value is not None:
            yield Gauge(f"flask_concurrency.jobs.{name}", meaning, (), {(): float(value)})
