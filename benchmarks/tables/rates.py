"""Measure what limits add to a request: nothing to check, one rate, three rates, a refusal.

Every app answers the same view. All limits stand on the route and name a quota that is never
reached, but for the refusals. Header fields are on for both sides: ours sends two fields for all
limits, Flask-Limiter three for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.scratch import host_store
from benchmarks.wsgi_call import requests_to

if TYPE_CHECKING:
    from flask import Flask

ONE = ("1000000/minute",)
THREE = ("100000000/day", "10000000/hour", "1000000/minute")
SPENT = ("1/day",)
REFUSED = "429 TOO MANY REQUESTS"

BARE = "bare Flask"


def bare() -> Flask:
    """The view and nothing else."""
    from flask import Flask

    app = Flask("bare")
    app.get("/")(hello)
    return app


def ours(*limits: str, algorithm: str = "sliding-window", store: str = "memory://") -> Flask:
    """The view behind our limits; without any, the extension stands by."""
    from flask import Flask

    from flask_concurrency import Concurrency, Rate

    app = Flask("ours")
    concurrency = Concurrency(app, store=store)
    rates = [Rate(limit, algorithm=algorithm) for limit in limits]  # type: ignore[arg-type]
    app.get("/")(concurrency.limit(*rates)(hello) if rates else hello)
    return app


def flask_limiter(*limits: str, strategy: str = "fixed-window") -> Flask:
    """The view behind Flask-Limiter; its default strategy is ``fixed-window``."""
    from flask import Flask
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    app = Flask("flask_limiter")
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri="memory://",
        strategy=strategy,
        headers_enabled=True,
    )
    app.get("/")(limiter.limit("; ".join(limits))(hello) if limits else hello)
    return app


def hello() -> str:
    """Answer what every tutorial answers."""
    return "Hello, World!"


@contextmanager
def admitted(make_app: Callable[[], Flask]) -> Iterator[Call]:
    """Requests that every limit lets in."""
    yield requests_to(make_app())


@contextmanager
def admitted_by_the_host() -> Iterator[Call]:
    """The same, counted for all processes of the host."""
    with host_store() as uri:
        yield requests_to(ours(*THREE, store=uri))


@contextmanager
def refused(make_app: Callable[[], Flask]) -> Iterator[Call]:
    """Requests of one client that has spent its quota."""
    app = make_app()
    requests_to(app, clients=1)()
    yield requests_to(app, status=REFUSED, clients=1)


def _subject(name: str, make_app: Callable[[], Flask]) -> Subject:
    return Subject(name, partial(admitted, make_app))


BENCHMARKS = (
    Benchmark(
        name="rates",
        title="what limits add to a request, in one process, over a bare Flask view",
        base=BARE,
        subjects=(
            _subject(BARE, bare),
            _subject("ours, no limit", ours),
            _subject("ours, 1 rate", partial(ours, *ONE)),
            _subject("ours, 3 rates", partial(ours, *THREE)),
            _subject("ours, 3 rates, fixed", partial(ours, *THREE, algorithm="fixed-window")),
            Subject("ours, 3 rates, host", admitted_by_the_host),
            _subject("Flask-Limiter, no limit", flask_limiter),
            _subject("Flask-Limiter, 1 rate", partial(flask_limiter, *ONE)),
            _subject("Flask-Limiter, 3 rates", partial(flask_limiter, *THREE)),
            _subject(
                "Flask-Limiter, 3 rates, sliding",
                partial(flask_limiter, *THREE, strategy="sliding-window-counter"),
            ),
        ),
        comparisons=(
            Comparison(
                "3 rates, each side's default",
                "ours, 3 rates",
                "Flask-Limiter, 3 rates",
                BARE,
                1 / 10,
            ),
            Comparison(
                "3 rates, sliding window",
                "ours, 3 rates",
                "Flask-Limiter, 3 rates, sliding",
                BARE,
                1 / 10,
            ),
            Comparison(
                "3 rates, fixed window",
                "ours, 3 rates, fixed",
                "Flask-Limiter, 3 rates",
                BARE,
                1 / 10,
            ),
            Comparison(
                "1 rate, each side's default", "ours, 1 rate", "Flask-Limiter, 1 rate", BARE, 1 / 10
            ),
            Comparison(
                "no limit, beside Flask-Limiter", "ours, no limit", "Flask-Limiter, no limit", BARE
            ),
            Comparison(
                "3 rates, host store beside memory",
                "ours, 3 rates, host",
                "ours, 3 rates",
                BARE,
                1.4,
            ),
            Comparison("no limit, beside bare Flask", "ours, no limit", BARE, at_most=1.05),
        ),
    ),
    Benchmark(
        name="refusals",
        title="what answering 429 takes, beside admitting to a bare Flask view",
        base=BARE,
        subjects=(
            _subject(BARE, bare),
            Subject("ours", partial(refused, partial(ours, *SPENT))),
            Subject("Flask-Limiter", partial(refused, partial(flask_limiter, *SPENT))),
        ),
        comparisons=(
            Comparison("a refused request", "ours", "Flask-Limiter"),
            Comparison("a refused request, beside an admitted one", "ours", BARE),
        ),
    ),
)
