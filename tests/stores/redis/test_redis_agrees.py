"""The scripts against the arithmetic in Python: the same random programs, the same answers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Check
from flask_concurrency.testing.manual_clock import ManualClock

EXACT = 1 / 64
"""Seconds that are whole in binary and whole in microseconds: both sides count the same time."""

numbers = itertools.count()

checks = st.builds(
    Check,
    st.just(""),
    st.sampled_from(
        [
            SlidingWindow(5, 16.0),
            FixedWindow(5, 16.0),
            SlidingWindow(33, 16.0),
            SlidingWindow(40, 2.0),
            TokenBucket(4, 16.0, 6),
            TokenBucket(3, 7.0, 3),
            TokenBucket(0, 8.0, 2),
            InFlightCount(3),
        ]
    ),
    st.sampled_from("ab"),
    st.integers(0, 4),
    st.booleans(),
).map(lambda check: check._replace(limiter_id=repr(check.policy)))
stages = st.lists(checks, min_size=1, max_size=4, unique_by=lambda check: check[:3])
steps = st.lists(
    st.tuples(st.integers(0, 1_500), stages, st.integers(0, 3)), min_size=1, max_size=25
)


@pytest.fixture(scope="module")
def url(redis_server: Any) -> str:
    found: str = redis_server.url
    return found


@pytest.mark.slow
@given(steps)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_both_stores_answer_alike(url: str, program: list[tuple[int, list[Check], int]]) -> None:
    """Whatever is asked and given back, whenever: admitted, left, and both waits are the same."""
    clock = ManualClock(1_024.0)
    ours = RedisStore(url, namespace=f"agree-{next(numbers)}", clock=clock, lease=1e6, timeout=30.0)
    theirs = MemoryStore(clock=clock)
    taken: list[tuple[float, list[Check]]] = []
    for pause, stage, returns in program:
        clock.advance(pause * EXACT)
        mine, other = ours.take(stage), theirs.take(stage)
        for got, expected in zip(mine, other, strict=True):
            assert got[:2] == expected[:2], (stage, mine, other)
            assert close(got.retry_after, expected.retry_after), (stage, mine, other)
            assert close(got.reset_after, expected.reset_after), (stage, mine, other)
        if all(out.admitted or check.shadow for out, check in zip(mine, stage, strict=True)):
            spent = [check for out, check in zip(mine, stage, strict=True) if out.admitted]
            taken.append((clock(), spent))
        if taken and returns == 0:
            at, spent = taken.pop(0)
            # Later there is nothing to return, and each store decides when it is forgotten.
            if clock() - at <= 16.0:
                ours.give_back(spent, after=clock() - at)
                theirs.give_back(spent, after=clock() - at)
    ours.close()


def close(got: float | None, expected: float | None) -> bool:
    """Whether two waits are the same but for the rounding up to whole microseconds."""
    if got is None or expected is None:
        return got is expected
    return math.isclose(got, expected, abs_tol=2e-6)
