"""The host store's memory is fixed: what goes when it is full, what never goes, what is said."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.host.cell_index import MAX_REMEMBERED_KEY, REMEMBERED
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.host.layout import Geometry
from flask_concurrency.stores.store import Check
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreError

OpenStore = Callable[..., HostStore]


def left(store: HostStore, check: Check) -> int:
    """What is left, found out without spending or remembering anything."""
    return store.take([check._replace(cost=check.policy.quota + 1)])[0].remaining


def rate(key: object, period: float = 60.0) -> Check:
    return Check("r", FixedWindow(5, period), str(key), 1)


def test_a_full_bucket_forgets_who_would_be_forgotten_first(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and said once, with the remedy."""
    store = open_store(max_keys=16)
    store.take([rate("soon", period=10.0)])
    for number in range(15):
        store.take([rate(number)])
    assert left(store, rate("soon", period=10.0)) == 4
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        store.take([rate("one more")])
        store.take([rate("another one")])
    assert caplog.text.count("raise max_keys") == 1
    assert left(store, rate("soon", period=10.0)) == 5
    assert left(store, rate("another one")) == 4
    assert store.snapshot().evictions == 2
    assert store.snapshot().keys == 16


def test_a_full_bucket_takes_an_expired_place_first(open_store: OpenStore) -> None:
    """No live key is forgotten while an expired one can be."""
    clock = ManualClock()
    store = open_store(max_keys=16, clock=clock)
    store.take([rate("expired", period=10.0)])
    for number in range(15):
        store.take([rate(number)])
    clock.advance(10.0)
    store.take([rate("new")])
    assert store.snapshot().evictions == 0
    assert [left(store, rate(number)) for number in range(15)] == [4] * 15


def test_many_more_keys_than_fit_are_still_answered(open_store: OpenStore) -> None:
    """Under a flood of new keys every request is counted, in a file that does not grow."""
    store = open_store(max_keys=256)
    size = store.snapshot().size
    for number in range(1_000):
        assert store.take([rate(number)])[0].remaining == 4
    seen = store.snapshot()
    assert seen.keys <= seen.capacity == 256
    assert seen.evictions >= 1_000 - 256
    assert os.stat(seen.path).st_size == seen.size == size


def inside(key: object, units: int = 1) -> Check:
    return Check("f", InFlightCount(units), str(key), units)


def test_who_is_inside_is_never_forgotten(open_store: OpenStore) -> None:
    """Without room for one more key that one gets an error, and nothing of it is spent."""
    store = open_store(max_keys=16)
    for number in range(16):
        assert store.take([inside(number)])[0].admitted
    with pytest.raises(StoreError, match=r"inside for 16 keys.*raise max_keys"):
        store.take([rate("k"), inside("one more")])
    assert left(store, rate("k")) == 5
    assert not any(store.take([inside(number)])[0].admitted for number in range(16))
    store.give_back([inside(3)])
    assert store.take([rate("k"), inside("one more")])[0].remaining == 4


def test_room_of_the_dead_is_used_again(open_store: OpenStore) -> None:
    """Also for another key than the one they held."""
    victim, store = open_store(max_keys=16), open_store(max_keys=16)
    for number in range(16):
        victim.take([inside(number)])
    store.probe()
    victim.close()
    assert store.take([inside("one more")])[0].admitted


def test_rows_about_to_be_used_are_not_given_away(open_store: OpenStore) -> None:
    """A request for many new keys gets a row for each, though all of them are empty."""
    store = open_store(max_keys=16)
    for number in range(16):
        store.take([inside(f"gone {number}")])
        store.give_back([inside(f"gone {number}")])
    many = [inside("gone 3"), *(inside(number) for number in range(15))]
    assert all(outcome.admitted for outcome in store.take(many))
    assert not any(store.take([check])[0].admitted for check in many)


def login(key: str = "victim", cost: int = 1) -> Check:
    return Check("login", SlidingWindow(5, 60.0), key, cost)


def test_a_flood_of_keys_of_one_limit_forgets_no_other_limit(open_store: OpenStore) -> None:
    """A login that is refused, or nearly, stays so, whatever clients ask of other pages."""
    store = open_store(max_keys=64)
    store.take([login(cost=5)])
    store.take([login("nearly", cost=4)])
    for number in range(2_000):
        page = Check("page", FixedWindow(100, 86_400.0), f"stranger {number}", 1)
        assert store.take([page])[0].remaining == 99
    assert not store.take([login()])[0].admitted
    assert left(store, login("nearly")) == 1


def test_a_flood_over_many_limits_forgets_what_has_most_left(open_store: OpenStore) -> None:
    """Ten pages, two limits each, as default limits make them: twenty limiters crowd the file."""
    store = open_store(max_keys=64)
    store.take([login(cost=5)])
    for number in range(200):
        for page in range(10):
            key = f"stranger {number}"
            store.take(
                [
                    Check(f"{page} a day", SlidingWindow(100, 86_400.0), key, 1),
                    Check(f"{page} an hour", SlidingWindow(10, 3_600.0), key, 1),
                ]
            )
    assert not store.take([login()])[0].admitted


def test_a_flood_that_spends_all_it_may_displaces_itself(open_store: OpenStore) -> None:
    """Keys that are refused, too, make room among those of their own limit."""
    store = open_store(max_keys=64)
    store.take([login(cost=4)])
    for number in range(2_000):
        store.take([Check("once", SlidingWindow(1, 86_400.0), f"stranger {number}", 1)])
    assert left(store, login()) == 1


def test_a_key_finds_room_in_a_flood(open_store: OpenStore) -> None:
    """A limit with few keys displaces one of the many, not one of its own."""
    store = open_store(max_keys=16)
    for number in range(16):
        store.take([Check("once", SlidingWindow(1, 86_400.0), f"stranger {number}", 1)])
    for key in ("one", "two", "three"):
        store.take([login(key, cost=5)])
    assert [left(store, login(key)) for key in ("one", "two", "three")] == [0, 0, 0]


def test_a_snapshot_counts_what_is_there(open_store: OpenStore, directory: Path) -> None:
    """Keys that still count, units of the living, and who they are."""
    clock = ManualClock()
    one, two = open_store(clock=clock), open_store(clock=clock)
    one.take([rate("a", period=10.0), rate("b"), inside("c", units=3)])
    two.take([rate("a", period=10.0), inside("d")])
    clock.advance(10.0)
    seen = one.snapshot()
    assert seen.path.parent == directory
    assert (seen.keys, seen.capacity, seen.evictions) == (1, 256, 0)
    assert seen.processes == (os.getpid(), os.getpid())
    assert seen.in_flight == 4
    two.close()
    assert one.snapshot().in_flight == 3


class StrangePolicy:
    """A policy that the host store does not know."""

    quota = 5


def test_what_cannot_be_counted_is_refused(open_store: OpenStore) -> None:
    """The message names the policy or the quota, and the remedy."""
    store = open_store()
    with pytest.raises(ConfigurationError, match=r"StrangePolicy.*'r'.*memory://"):
        store.take([Check("r", cast(Policy, StrangePolicy()), "k", 1)])
    with pytest.raises(ConfigurationError, match=r"5,000,000,000"):
        store.take([Check("r", FixedWindow(5_000_000_000, 60.0), "k", 1)])


def test_a_policy_of_another_kind_counts_apart(open_store: OpenStore) -> None:
    """One id with two kinds of policies is a mistake, but never a misread record."""
    store = open_store()
    policies: list[Policy] = [
        SlidingWindow(5, 60.0),
        FixedWindow(5, 60.0),
        TokenBucket(5, 60.0, 5),
        InFlightCount(5),
    ]
    for remaining in (4, 3):
        for policy in policies:
            assert store.take([Check("same", policy, "k", 1)])[0].remaining == remaining


def test_a_bucket_that_never_refills_is_never_forgotten(open_store: OpenStore) -> None:
    """A quota of 0 with a burst lets the burst in, once."""
    clock = ManualClock()
    store = open_store(clock=clock)
    check = Check("r", TokenBucket(0, 60.0, 2), "k", 1)
    assert [store.take([check])[0].admitted for _ in range(3)] == [True, True, False]
    clock.advance(1e9)
    assert not store.take([check])[0].admitted


def test_remembered_places_take_bounded_memory(open_store: OpenStore) -> None:
    """However many keys there are, and however long."""
    store = open_store()
    for number in range(REMEMBERED + 100):
        store.forget([rate(number)])
    store.forget([rate("k" * (MAX_REMEMBERED_KEY + 1))])
    assert store._transactions is not None
    remembered = store._transactions._index.remembered
    assert 0 < len(remembered) <= REMEMBERED
    assert max(len(key) for _, key in remembered) <= MAX_REMEMBERED_KEY


@pytest.mark.parametrize("max_keys", [1, 15, 16, 17, 1_000, 65_536, 1_000_000])
def test_a_file_holds_at_least_as_many_keys_as_asked(max_keys: int) -> None:
    """Rounded up to whole buckets, and every part begins where a word may."""
    geometry = Geometry.holding(max_keys, 129)
    assert max_keys <= geometry.capacity < 2 * max_keys + 1_024
    assert geometry.evictions_at % 8 == geometry.rates_at % 8 == geometry.in_flight_at % 8 == 0
    assert geometry.size % 4_096 == 0
