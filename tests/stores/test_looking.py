"""To look at a count is to change nothing: neither what is spent nor when a window began."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.limits_adapter import LimitsStore
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.testing.manual_clock import ManualClock

PERIOD = 16.0
WINDOWS: list[Policy] = [
    SlidingWindow(4, PERIOD),
    FixedWindow(4, PERIOD),
    SlidingWindow(40, PERIOD),
]
POLICIES: list[Policy] = [*WINDOWS, TokenBucket(4, PERIOD, 6), InFlightCount(4)]

TICK = 1 / 64
"""Seconds that are whole in binary and whole in microseconds: every store counts the same time."""

steps = st.lists(
    st.tuples(st.integers(0, 1_500), st.integers(1, 5), st.integers(0, 2)), min_size=1, max_size=12
)
"""Ticks that pass, units that are asked for, and looks before it."""

thoroughly = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = itertools.count()


def compare(
    store: Store, clock: ManualClock, policy: Policy, program: list[tuple[int, int, int]]
) -> None:
    """Two keys are asked the same; one of them is looked at in between."""
    limiter = f"limiter {next(numbers)}"
    looked_at, left_alone = (Check(limiter, policy, key, 0) for key in ("looked at", "left alone"))
    for ticks, cost, looks in program:
        for _ in range(looks):
            clock.advance(ticks * TICK / 3)
            store.take([looked_at])
        clock.advance(ticks * TICK)
        answers = [store.take([each._replace(cost=cost)]) for each in (looked_at, left_alone)]
        assert answers[0] == answers[1]


@thoroughly
@given(st.sampled_from(POLICIES), steps)
def test_looking_into_memory(policy: Policy, program: list[tuple[int, int, int]]) -> None:
    """Every later answer is the same, to the last bit."""
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    compare(store, clock, policy, program)
    store.close()


@pytest.fixture(scope="module")
def host() -> Any:
    """One store for all examples; each has a limiter of its own."""
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as scratch:
        store = HostStore("looked at", directory=Path(scratch) / "counts", clock=clock)
        yield store, clock
        store.close()


@thoroughly
@given(st.sampled_from(POLICIES), steps)
def test_looking_into_the_mapped_file(
    host: tuple[Store, ManualClock], policy: Policy, program: list[tuple[int, int, int]]
) -> None:
    """Every later answer is the same, to the last bit."""
    compare(*host, policy, program)


@pytest.fixture
def remote(redis_server: Any) -> Any:
    """One store for all examples; each has a limiter of its own."""
    clock = ManualClock(1_024.0)
    store = RedisStore(
        redis_server.url, namespace="looked at", clock=clock, lease=1e9, timeout=30.0
    )
    yield store, clock
    store.close()


@pytest.mark.slow
@thoroughly
@given(st.sampled_from(POLICIES), steps)
def test_looking_into_redis(
    remote: tuple[Store, ManualClock], policy: Policy, program: list[tuple[int, int, int]]
) -> None:
    """Every later answer is the same, to the microsecond."""
    compare(*remote, policy, program)


@pytest.fixture
def adapted(monkeypatch: pytest.MonkeyPatch) -> tuple[Store, ManualClock]:
    """The adapter over the storage whose time can be moved by hand."""
    clock = ManualClock(1_200.0)
    time = SimpleNamespace(time=clock)
    monkeypatch.setattr("limits.storage.memory.time", time)
    monkeypatch.setattr("limits.strategies.time", time)
    return LimitsStore("limits+memory://", clock=clock), clock


@thoroughly
@given(st.sampled_from(WINDOWS), steps)
def test_looking_through_the_adapter(
    adapted: tuple[Store, ManualClock], policy: Policy, program: list[tuple[int, int, int]]
) -> None:
    """Every later answer of a storage that is asked by another library is the same, too."""
    compare(*adapted, policy, program)


def test_a_look_leaves_no_trace_in_memory() -> None:
    """Keys that were only looked at take no room."""
    store = MemoryStore(clock=ManualClock())
    store.take([Check(repr(policy), policy, "k", 0) for policy in POLICIES])
    assert len(store) == 0


def test_a_look_leaves_no_trace_in_the_mapped_file(tmp_path: Path) -> None:
    """It takes no cell, either."""
    store = HostStore("looked at", directory=tmp_path / "counts", clock=ManualClock())
    store.take([Check(repr(policy), policy, "k", 0) for policy in POLICIES])
    assert store.snapshot().keys == 0
    store.close()


def test_a_look_leaves_no_trace_on_redis(redis_server: Any, namespace: str) -> None:
    """No key at all."""
    store = RedisStore(redis_server.url, namespace=namespace, timeout=30.0)
    store.take([Check(repr(policy), policy, "k", 0) for policy in POLICIES])
    assert list(redis_server.client().scan_iter(f"*{namespace}*")) == []
    store.close()
