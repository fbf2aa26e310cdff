"""Measure what limits add to a request, all apps in one process.

The other tables give each subject a process of its own, where the luck of what lies where in memory
makes it faster or slower by microseconds. Here nothing but the app differs, one batch after the
other in an order that is drawn anew each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from random import sample
from typing import TYPE_CHECKING

from benchmarks.benchmark import Trial
from benchmarks.tables.rates import ONE, THREE, bare, flask_limiter, hello, ours
from benchmarks.wsgi_call import requests_to

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask

BATCHES, REQUESTS = 2_000, 5
FEW = 20
QUICKER = 20
"""One batch of so many is quicker than the one that is told: then the machine did nothing else."""

PEERS = {"ours, 1 rate": "Flask-Limiter, 1 rate", "ours, 3 rates": "Flask-Limiter, 3 rates"}


def other_route_limited() -> Flask:
    """The view without a limit, in an app that has another one with three."""
    app = ours(*THREE)
    app.get("/free", endpoint="free")(lambda: hello())  # limits are declared on ``hello`` itself
    return app


def empty_hook() -> Flask:
    """Flask with a hook and a middleware that do nothing: the least that any extension adds."""
    app = bare()
    app.before_request(lambda: None)
    inner = app.wsgi_app

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return app


def in_turn(calls: Mapping[str, Callable[[], object]], quick: bool) -> dict[str, float]:
    """Microseconds that each call takes in one of its quicker batches, all in turn."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(FEW if quick else BATCHES):
        for name in sample(list(calls), len(calls)):
            begun_at = time.perf_counter()
            for _ in range(REQUESTS):
                calls[name]()
            spent[name].append((time.perf_counter() - begun_at) / REQUESTS)
    return {name: sorted(times)[len(times) // QUICKER] * 1e6 for name, times in spent.items()}


def measure(quick: bool) -> list[list[str]]:
    """All in turn, many times."""
    calls = {
        "bare Flask": requests_to(bare()),
        "an empty hook and an empty middleware": requests_to(empty_hook()),
        "ours, no limit anywhere": requests_to(ours()),
        "ours, another route has three": requests_to(other_route_limited(), "/free"),
        "ours, 1 rate": requests_to(ours(*ONE)),
        "ours, 3 rates": requests_to(ours(*THREE)),
        "Flask-Limiter, 1 rate": requests_to(flask_limiter(*ONE)),
        "Flask-Limiter, 3 rates": requests_to(flask_limiter(*THREE)),
    }
    told = in_turn(calls, quick)
    added = {name: each - told["bare Flask"] for name, each in told.items()}
    rows = [["", "µs a request", "added µs", "of Flask-Limiter's"]]
    for name, each in told.items():
        peer = PEERS.get(name)
        ratio = f"{added[name] / added[peer]:.3f}" if peer else ""
        rows.append([name, f"{each:.1f}", f"{added[name]:+.2f}", ratio])
    return rows


TRIALS = (Trial("added", "what limits add to a request, all apps in one process", measure),)
