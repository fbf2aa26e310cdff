"""What the adapter to the ``limits`` library promises, and what it says it cannot."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from limits.errors import StorageError
from limits.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from limits.util import MissingModule

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.limits_adapter import LimitsStore, _options
from flask_concurrency.stores.store import Check
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    StoreError,
    StoreUnavailable,
)

POLICIES: list[Policy] = [SlidingWindow(5, 60.0), FixedWindow(5, 60.0), SlidingWindow(5, 120.0)]
CHECKS = [Check(repr(policy), policy, "k", 1) for policy in POLICIES]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock(1_200.0)
    time = SimpleNamespace(time=clock)
    monkeypatch.setattr("limits.storage.memory.time", time)
    monkeypatch.setattr("limits.strategies.time", time)
    return clock


@pytest.fixture
def store(clock: ManualClock) -> LimitsStore:
    return LimitsStore("limits+memory://", clock=clock)


@pytest.mark.parametrize("check", CHECKS, ids=repr)
def test_a_quota_is_kept(check: Check, store: LimitsStore, clock: ManualClock) -> None:
    """Five of five get in, the sixth does not until its time has come."""
    outcomes = [store.take([check])[0] for _ in range(6)]
    assert [outcome.remaining for outcome in outcomes] == [4, 3, 2, 1, 0, 0]
    assert not outcomes[-1].admitted
    assert outcomes[-1].retry_after
    clock.advance(240.0)
    assert store.take([check])[0].admitted


def test_a_refused_stage_spends_nothing(store: LimitsStore) -> None:
    """All are looked at before the first is spent."""
    closed = Check("closed", FixedWindow(0, 60.0), "k", 1)
    for _ in range(3):
        outcomes = store.take([*CHECKS, closed])
        assert [outcome.admitted for outcome in outcomes] == [True, True, True, False]
    assert [outcome.remaining for outcome in store.take(CHECKS)] == [4, 4, 4]


def test_whoever_comes_between_refuses_and_units_return_where_they_can(
    store: LimitsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may spend between the look and the hit; never are too many admitted."""
    fixed, last = CHECKS[1], Check("last", SlidingWindow(1, 60.0), "k", 1)
    limiter = store._limiter(last.policy)
    monkeypatch.setattr(limiter, "hit", lambda *arguments, **options: False)
    outcomes = store.take([fixed, last])
    assert [outcome.admitted for outcome in outcomes] == [True, False]
    assert store.take([fixed])[0].remaining == 4


def test_a_fixed_window_takes_units_back(store: LimitsStore, clock: ManualClock) -> None:
    """While it is open; a new one owes nothing."""
    fixed = CHECKS[1]
    store.take([fixed])
    store.give_back([fixed])
    assert store.take([fixed])[0].remaining == 4
    clock.advance(120.0)
    store.give_back([fixed], after=120.0)
    assert store.take([fixed])[0].remaining == 4


def test_others_keep_what_was_charged_and_say_so_once(
    store: LimitsStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The library has no way to take a unit back from them."""
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        for check in (CHECKS[0], CHECKS[2], CHECKS[2]):
            store.take([check])
            store.give_back([check])
    assert len(caplog.records) == 1
    assert store.take([CHECKS[0]])[0].remaining == 3


def test_a_count_can_start_anew(store: LimitsStore) -> None:
    """Of every algorithm."""
    store.take(CHECKS)
    assert store.forget(CHECKS) == 3
    assert [outcome.remaining for outcome in store.take(CHECKS)] == [4, 4, 4]


@pytest.mark.parametrize("policy", [InFlightCount(3), TokenBucket(5, 60.0, 5)], ids=repr)
def test_what_the_library_cannot_count_is_refused(policy: Policy, store: LimitsStore) -> None:
    """With the stores that can."""
    with pytest.raises(ConfigurationError, match="Use a memory, host or Redis store"):
        store.take([Check("x", policy, "k", 1)])


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("limits+nothing://user:secret@host", "unknown storage scheme"),
        ("limits+async+memory://", "asynchronous"),
        ("limits+memory://?", None),
        ("limits+", "write the library's URI after"),
    ],
)
def test_a_storage_that_is_not_there_is_refused_at_once(uri: str, reason: str | None) -> None:
    """Not in the first request, and without its password."""
    if reason is None:
        assert str(LimitsStore(uri)).startswith("limits+memory://")
        return
    with pytest.raises(ConfigurationError, match=reason) as raised:
        LimitsStore(uri)
    assert "secret" not in str(raised.value)


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """memcached needs a package of its own."""
    monkeypatch.setattr("limits.util.get_dependency", lambda path: (MissingModule, None))
    with pytest.raises(ConfigurationError, match="pymemcache"):
        LimitsStore("limits+memcached://localhost:11211")


@pytest.mark.parametrize(
    "error", [StorageError(ValueError("broken")), ConnectionRefusedError("no")]
)
def test_errors_of_the_storage_are_an_outage(
    error: Exception, store: LimitsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its client raises, in our words."""

    def fail(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(store._storage, "get", fail)
    with pytest.raises(StoreUnavailable, match="limits\\+memory://"):
        store.take([CHECKS[1]])


def test_a_probe_asks_the_storage(store: LimitsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes while the storage answers."""
    store.probe()
    monkeypatch.setattr(store._storage, "check", lambda: False)
    with pytest.raises(StoreUnavailable):
        store.probe()


def test_a_storage_that_only_counts_up_keeps_the_charge(
    store: LimitsStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """memcached refuses a negative number; that is no outage."""
    store.take([CHECKS[1]])
    count_up = store._storage.incr

    def incr(key: str, expiry: int, amount: int = 1) -> int:
        if amount < 0:
            raise StorageError(ValueError("invalid numeric delta argument"))
        return count_up(key, expiry, amount)

    monkeypatch.setattr(store._storage, "incr", incr)
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        store.give_back([CHECKS[1]])
    assert "invalid numeric delta" in caplog.text
    assert store.take([CHECKS[1]])[0].remaining == 3


@pytest.mark.parametrize(("quota", "waits"), [(5, 30.0), (32, 30.0), (33, 60.0)])
def test_a_small_quota_is_counted_by_a_log(
    quota: int, waits: float, store: LimitsStore, clock: ManualClock
) -> None:
    """Up to 32 as exactly as our own stores do; above, the library's two counters estimate."""
    clock.now = 1_230.0  # in the middle of one of the library's windows
    check = Check("r", SlidingWindow(quota, 60.0), "k", quota)
    assert store.take([check])[0].admitted
    clock.advance(30.0)
    assert store.take([check._replace(cost=1)])[0].retry_after == pytest.approx(waits, abs=1.0)


def test_a_storage_without_logs_counts_by_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """As memcached, which keeps no list."""
    store = LimitsStore("limits+memory://")

    def cannot(limiter: Any, storage: Any) -> None:
        raise NotImplementedError("no moving window here")

    monkeypatch.setattr(MovingWindowRateLimiter, "__init__", cannot)
    assert isinstance(store._limiter(SlidingWindow(5, 60.0)), SlidingWindowCounterRateLimiter)
    assert [store.take([CHECKS[0]])[0].admitted for _ in range(6)] == [True] * 5 + [False]


def test_a_storage_of_our_own_is_cleared(store: LimitsStore) -> None:
    """All keys of all limits begin anew."""
    store.take(CHECKS)
    assert store.clear() > 0
    assert store.clear() == 0
    assert [outcome.remaining for outcome in store.take(CHECKS)] == [4, 4, 4]


def test_a_storage_that_others_share_is_not_cleared(redis_server: Any) -> None:
    """The library could only delete the counts of all who share it."""
    url = "limits+redis+unix://" + redis_server.url.removeprefix("unix://")
    store = LimitsStore(url)
    store.take(CHECKS)
    with pytest.raises(StoreError, match="one by one, or use another namespace"):
        store.clear()
    assert store.forget(CHECKS) == 3


@pytest.mark.parametrize("scheme", ["memcached", "mongodb", "mongodb+srv"])
def test_clients_of_other_machines_are_given_a_timeout(scheme: str) -> None:
    """Each by the names its client knows."""
    options = _options(scheme, 0.25)
    assert set(options.values()) in ({0.25}, {250})
    assert _options("memory", 0.25) == {}
