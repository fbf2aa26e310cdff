"""What only the memory store promises: bounded memory, no thread, exact under threads."""

from __future__ import annotations

import logging
import threading

import pytest

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.memory import MemorySnapshot, MemoryStore
from flask_concurrency.stores.opening import open_store
from flask_concurrency.stores.store import Check
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import ConfigurationError

FIVE_A_MINUTE = SlidingWindow(5, 60.0)


def visit(key: str, cost: int = 1) -> list[Check]:
    return [Check("route", FIVE_A_MINUTE, key, cost)]


def test_a_full_store_forgets_whoever_was_away_longest(caplog: pytest.LogCaptureFixture) -> None:
    """It never holds more than ``max_keys``, says so once, and counts what it lost."""
    store = MemoryStore(max_keys=3, clock=ManualClock())
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        for key in ["a", "b", "c", "a", "d", "e"]:
            store.take(visit(key))
    assert len(store) == 3
    assert store.forgotten == 2
    assert caplog.text.count("memory store is full") == 1
    assert store.take(visit("a"))[0].remaining == 2
    assert store.take(visit("b"))[0].remaining == 4


def test_expired_keys_make_room_as_new_ones_come() -> None:
    """A store that saw many keys long ago shrinks while it is used, without any scan."""
    clock = ManualClock()
    store = MemoryStore(max_keys=1_000, clock=clock)
    for number in range(100):
        store.take(visit(f"old {number}"))
    clock.advance(120)
    for number in range(100):
        store.take(visit(f"new {number}"))
    assert len(store) == 100
    assert store.forgotten == 0


def test_a_key_with_nobody_inside_is_not_remembered() -> None:
    """In-flight counts take memory only while a permit is held."""
    store = MemoryStore()
    inside = [Check("route", InFlightCount(2), "k", 1)]
    store.take(inside)
    assert len(store) == 1
    store.give_back(inside)
    assert len(store) == 0


def test_a_full_store_never_forgets_who_is_inside() -> None:
    """Forgetting a permit would let too many in, so only counts of the past are dropped."""
    store = MemoryStore(max_keys=2, clock=ManualClock())
    inside = Check("busy", InFlightCount(1), "k", 1)
    store.take([inside])
    for key in "abcdef":
        store.take(visit(key))
    assert not store.take([inside])[0].admitted


def test_threads_count_exactly() -> None:
    """Sixteen threads ask 100 times each for a quota of 500: exactly 500 get it."""
    store = MemoryStore(clock=ManualClock())
    policy = SlidingWindow(500, 60.0)
    barrier = threading.Barrier(16)
    admitted: list[int] = []

    def hammer() -> None:
        barrier.wait()
        asked = [store.take([Check("route", policy, "k", 1)])[0] for _ in range(100)]
        admitted.append(sum(outcome.admitted for outcome in asked))

    threads = [threading.Thread(target=hammer) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 500


def test_a_request_may_end_while_another_is_counted() -> None:
    """The garbage collector ends abandoned requests in the middle of any line, even this one."""
    inside = Check("busy", InFlightCount(2), "k", 1)

    class Collecting(InFlightCount):
        def take(self, state: int | None, now: float, cost: int) -> tuple[int, Outcome]:
            taken = super().take(state, now, cost)
            store.give_back([inside])
            return taken

    store = MemoryStore()
    store.take([inside])
    assert store.take([inside._replace(policy=Collecting(2))])[0].admitted
    assert store.take([inside])[0].remaining == 0


def test_it_starts_no_thread() -> None:
    """Neither a timer nor a sweeper: what is old goes when something new comes."""
    before = set(threading.enumerate())
    store = MemoryStore()
    for number in range(1_000):
        store.take(visit(str(number)))
    assert set(threading.enumerate()) <= before


def test_a_closed_store_is_empty() -> None:
    """Closing forgets everything."""
    store = MemoryStore()
    store.take(visit("k"))
    store.close()
    assert len(store) == 0
    assert store.take(visit("k"))[0].remaining == 4


@pytest.mark.parametrize("uri", ["", "memory", "redis//localhost", "file:///tmp/x"])
def test_an_unknown_store_is_refused(uri: str) -> None:
    """The message names the URI and one that works."""
    with pytest.raises(ConfigurationError, match="memory://"):
        open_store(uri)


@pytest.mark.parametrize("limiters", [1, 20])
def test_a_flood_of_keys_forgets_no_other_limit(limiters: int) -> None:
    """The limiter that has most keys gives one up: a login that is refused stays so."""
    store = MemoryStore(max_keys=100, clock=ManualClock())
    login = Check("login", FIVE_A_MINUTE, "victim", 5)
    assert store.take([login])[0].admitted
    for number in range(1_000):
        for page in range(limiters):
            store.take([Check(f"page {page}", FIVE_A_MINUTE, f"stranger {number}", 1)])
    assert not store.take([login._replace(cost=1)])[0].admitted
    assert len(store) <= 100


def test_a_snapshot_tells_how_full_it_is() -> None:
    """Keys, how many there may be, and how many were forgotten before their time."""
    store = MemoryStore(max_keys=3, clock=ManualClock())
    for number in range(5):
        store.take([Check("r", FIVE_A_MINUTE, str(number), 1)])
    assert store.snapshot() == MemorySnapshot(keys=3, capacity=3, evictions=2)
