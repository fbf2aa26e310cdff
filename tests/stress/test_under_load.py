"""Fifty clients at once on real servers: every answer is right, and nothing is left over.

In the suite so many requests are sent as take a few seconds. For a longer run::

    LOAD_SECONDS=30 ./scripts/test tests/stress/test_under_load.py -s
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import fields
from statistics import median, quantiles
from typing import Any

import pytest
import requests

import census
import crowd_of_views as crowds

SECONDS = float(os.environ.get("LOAD_SECONDS", "0"))
WARM_UP, REQUESTS = 300, 300
THREADS = 50
SLACK = {"threads": 10, "descriptors": 5, "processes": 1, "segments": 6}
"""For what begins late. A leak is as large as the number of requests, or of workers killed."""
SETTLES_WITHIN = 30.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + 2 * SECONDS)]


@pytest.mark.parametrize("server", ["gunicorn-gthread", "granian"])
def test_fifty_views_at_once_are_answered_right_and_leave_nothing(
    serve: Callable[..., str], server: str
) -> None:
    """Threads, processes, groups, coroutines, deadlines and crashes, all at the same time."""
    url = serve("tests/apps/under_load", server, workers=1, threads=THREADS)
    crowd = crowds.Crowd(url)
    crowd.visit(WARM_UP)
    worker = int(requests.get(f"{url}/pid", timeout=30).text)
    before = settled(worker)

    began_at = time.monotonic()
    if SECONDS:
        crowd.visit(seconds=SECONDS)
    else:
        crowd.visit(REQUESTS)
    took = time.monotonic() - began_at
    ceiling = {name: count + SLACK[name] for name, count in counts(before).items()}
    after = settled(worker, ceiling)

    print(summary(server, crowd, took, before, after))
    assert crowd.wrong == []
    assert sum(crowd.answered.values()) >= WARM_UP + (0 if SECONDS else REQUESTS)
    assert {name: n for name, n in counts(after).items() if n > ceiling[name]} == {}


def counts(found: Any) -> dict[str, int]:
    """What of a census must not grow; memory is only reported."""
    return {each.name: getattr(found, each.name) for each in fields(found) if each.name in SLACK}


def settled(worker: int, ceiling: dict[str, int] | None = None) -> Any:
    """Count when all is done: connections that were closed, workers that were killed, are gone."""
    give_up_at = time.monotonic() + SETTLES_WITHIN
    last: Any = None
    while True:
        found = census.take_census(worker)
        low = ceiling is None or all(n <= ceiling[name] for name, n in counts(found).items())
        still = last is not None and counts(found) == counts(last)
        if (low and still) or time.monotonic() > give_up_at:
            return found
        last = found
        time.sleep(0.2)  # a foreign process cannot notify us of what it released


def summary(server: str, crowd: Any, took: float, before: list[Any], after: list[Any]) -> str:
    """What happened, for who looks."""
    answered, seconds = crowd.answered, crowd.seconds
    lines = (
        f"\n{server}: {crowds.CLIENTS} clients for {took:.1f} s after {WARM_UP} requests",
        f"  {sum(answered.values())} right, {len(crowd.wrong)} wrong: {dict(answered)}",
        f"  seconds: median {median(seconds):.3f}, 99th of 100 {quantiles(seconds, n=100)[98]:.3f}",
        f"  before {before}",
        f"  after  {after}",
    )
    return "\n".join(lines)
