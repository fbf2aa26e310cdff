"""Whom a lock keeps out, for how long, and what becomes of it when its holder fails or dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.host import locks, private_file
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.host.locks import BRIEFLY, LONGEST_PAUSE, SHORTEST_PAUSE, BoundedRetry
from flask_concurrency.stores.store import Check
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

CHECK = Check("r", FixedWindow(5, 60.0), "k", 1)
INSIDE = Check("f", InFlightCount(2), "k", 1)

OpenStore = Callable[..., HostStore]


@pytest.fixture(autouse=True, params=["byte locks", "whole file"])
def _kind_of_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "whole file":
        monkeypatch.setattr(private_file, "known_for", lambda descriptor: False)


def open_below(directory: Path | None) -> int:
    """Count the descriptors of this process that are files in a directory."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one with which the directory was read
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum(link.startswith(f"{directory}/") for link in links)


class Interruption(ManualClock):
    """A clock that lets something happen while its store is counting."""

    def __init__(self, happen: Callable[[], object]) -> None:
        super().__init__()
        self.happen: Callable[[], object] | None = happen

    def __call__(self) -> float:
        happen, self.happen = self.happen, None
        if happen is not None:
            happen()
        return self.now


def interrupt(store: HostStore, happen: Callable[[], object]) -> None:
    """Let something happen the next time the store counts."""
    clock = store._clock
    assert isinstance(clock, Interruption)
    clock.happen = happen


def nothing() -> None: ...


def test_one_process_keeps_the_others_out(open_store: OpenStore) -> None:
    """A process that comes meanwhile gets an error, soon, with the cause and the remedy."""
    one, two = open_store(clock=Interruption(nothing)), open_store(timeout=0.0)
    two.probe()
    one.probe()

    def meanwhile() -> None:
        with pytest.raises(StoreUnavailable, match="probably stopped"):
            two.take([CHECK])

    interrupt(one, meanwhile)
    assert one.take([CHECK])[0].remaining == 4
    assert two.take([CHECK])[0].remaining == 3


def test_permits_return_though_another_process_holds_the_lock(open_store: OpenStore) -> None:
    """Releasing waits for no lock."""
    one, two = open_store(clock=Interruption(nothing)), open_store(timeout=0.0)
    two.take([INSIDE])
    one.probe()
    interrupt(one, lambda: two.give_back([INSIDE]))
    assert one.take([INSIDE])[0].remaining == 1


def test_a_failure_in_the_middle_unlocks_everything(open_store: OpenStore) -> None:
    """Threads and processes can count on; the failed request counts nothing."""

    def fail() -> None:
        raise KeyboardInterrupt

    one, two = open_store(clock=Interruption(nothing)), open_store(timeout=0.0)
    one.probe()
    interrupt(one, fail)
    with pytest.raises(KeyboardInterrupt):
        one.take([CHECK, INSIDE, CHECK._replace(key="other")])
    assert two.take([CHECK])[0].remaining == 4
    assert one.take([CHECK])[0].remaining == 3


def test_a_request_that_ends_while_another_is_counted_gives_back(open_store: OpenStore) -> None:
    """The garbage collector may end an abandoned request anywhere, in the very same thread."""
    store = open_store(clock=Interruption(nothing))
    store.take([INSIDE, CHECK])
    interrupt(store, lambda: store.give_back([INSIDE, CHECK]))
    assert store.take([INSIDE])[0].remaining == 0
    assert [outcome.remaining for outcome in store.take([INSIDE, CHECK])] == [0, 4]


def test_asking_while_being_asked_is_an_error_not_a_deadlock(open_store: OpenStore) -> None:
    """A finalizer that asks for a limit in the middle of counting gets an error."""
    store = open_store(clock=Interruption(nothing))
    store.probe()

    def ask() -> None:
        with pytest.raises(StoreError, match="finalizer"):
            store.take([CHECK])

    interrupt(store, ask)
    assert store.take([CHECK])[0].remaining == 4


def test_opposite_orders_do_not_deadlock(open_store: OpenStore) -> None:
    """Whatever order limits are written in, locks are taken in one."""
    keys = [CHECK._replace(key=str(number), policy=FixedWindow(10**6, 60.0)) for number in range(9)]
    stores = [open_store(timeout=30.0), open_store(timeout=30.0)]
    for store in stores:
        store.probe()

    def ask(store: HostStore, checks: list[Check]) -> None:
        for _ in range(50):
            store.take(checks)

    threads = [
        threading.Thread(target=ask, args=(store, checks))
        for store in stores
        for checks in (keys, keys[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].take([keys[0]])[0].remaining == 10**6 - 201


def test_a_closed_store_opens_again(open_store: OpenStore) -> None:
    """What it held came back, as if its process had ended; closing twice is nothing."""
    store = open_store()
    store.take([CHECK, INSIDE])
    store.close()
    store.close()
    store.give_back([INSIDE])
    assert [outcome.remaining for outcome in store.take([CHECK, INSIDE])] == [3, 1]


def test_closing_waits_for_who_is_counting(open_store: OpenStore) -> None:
    """No thread ever touches a file that was closed."""
    store = open_store(clock=Interruption(nothing))
    store.probe()
    closing = threading.Thread(target=store.close)
    interrupt(store, closing.start)
    assert store.take([CHECK])[0].remaining == 4
    closing.join()
    assert store.take([CHECK])[0].remaining == 3


def test_a_store_that_nobody_uses_any_more_lets_go(open_store: OpenStore) -> None:
    """Without being closed, too: its permits come back, and no descriptor leaks."""
    store = open_store()
    store.probe()
    before = open_below(store._directory)
    assert before > 0

    def use_and_forget() -> None:
        forgotten = HostStore("app", directory=store._directory, max_keys=256, max_processes=8)
        forgotten.take([INSIDE])
        assert len(store.snapshot().processes) == 2

    use_and_forget()
    assert len(store.snapshot().processes) == 1
    assert open_below(store._directory) == before
    assert [store.take([INSIDE])[0].admitted for _ in range(3)] == [True, True, False]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Time that moves by what is slept."""
    clock = ManualClock()
    monkeypatch.setattr(locks, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", clock.advance)
    return clock


def test_a_bounded_retry_tries_again_until_it_works(clock: ManualClock) -> None:
    """Soon at first, then less and less often."""
    started_at = clock.now
    attempts = iter([False] * 20 + [True])
    BoundedRetry("the lock", timeout=1.0).wait_for(lambda: next(attempts))
    assert 20 * SHORTEST_PAUSE < clock.now - started_at < 20 * LONGEST_PAUSE


def test_a_bounded_retry_ends_with_the_timeout(clock: ManualClock) -> None:
    """The message names what was waited for."""
    started_at = clock.now
    with pytest.raises(StoreUnavailable, match="holds the lock for too long"):
        BoundedRetry("the lock", timeout=1.0).wait_for(lambda: False)
    assert 1.0 <= clock.now - started_at <= 1.0 + LONGEST_PAUSE


def test_who_queued_behind_a_failure_waits_no_longer(clock: ManualClock) -> None:
    """A hundred threads behind a stopped process get the error after one timeout, not a hundred."""
    retry = BoundedRetry("the lock", timeout=1.0)
    started_at = clock.now
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            retry.wait_for(lambda: False)
    assert clock.now - started_at <= 1.0 + 100 * (BRIEFLY + LONGEST_PAUSE)
    clock.advance(1.0)
    attempts = iter([False, True])
    retry.wait_for(lambda: next(attempts))


def test_ordinary_contention_after_a_stall_is_waited_for(clock: ManualClock) -> None:
    """Within the second after a failure a lock that is free in a moment is no second failure."""
    retry = BoundedRetry("the lock", timeout=1.0)
    with pytest.raises(StoreUnavailable):
        retry.wait_for(lambda: False)
    for _ in range(50):
        attempts = iter([False, False, False, True])
        retry.wait_for(lambda attempts=attempts: next(attempts))  # type: ignore[misc]


def test_only_a_whole_wait_says_that_a_lock_is_stuck(clock: ManualClock) -> None:
    """Brief attempts do not prolong it, so under load, too, it ends after a second."""
    retry = BoundedRetry("the lock", timeout=1.0)
    failed_at = []
    for _ in range(400):
        started_at = clock.now
        with pytest.raises(StoreUnavailable):
            retry.wait_for(lambda: False)
        if clock.now - started_at >= 1.0:
            failed_at.append(clock.now)
    assert len(failed_at) > 1, "no caller waited a whole second again"


def test_a_stuck_shard_says_nothing_of_the_others(clock: ManualClock) -> None:
    """Each has a mark of its own, and success wipes it off."""
    retry = BoundedRetry("a lock", timeout=1.0, shards=2)
    with pytest.raises(StoreUnavailable):
        retry.wait_for(lambda: False, 1)
    assert retry.stuck() == [1]
    patient = iter([False] * 100 + [True])
    retry.wait_for(lambda: next(patient), 0)
    briefly = iter([False, True])
    retry.wait_for(lambda: next(briefly), 1)
    assert retry.stuck() == []


def test_a_probe_looks_at_the_shard_that_failed(open_store: OpenStore) -> None:
    """While another process keeps it, the store is not back, though all other shards are free."""
    store, other = open_store(timeout=0.01), open_store()
    check = next(
        check
        for number in range(100)
        for check in [CHECK._replace(key=str(number))]
        if shard_of(store, check) > 0
    )

    def stall(_: None) -> None:
        with pytest.raises(StoreUnavailable):
            store.take([check])
        with pytest.raises(StoreUnavailable):
            store.probe()

    other.probe()
    assert other._transactions is not None
    other._transactions.file.locks.locked([shard_of(store, check)], stall, None)
    assert store._transactions is not None
    assert store._transactions.file.locks.stuck()
    store.probe()
    assert store._transactions.file.locks.stuck() == [], "callers wait their whole time again"
    assert store.take([check])[0].remaining == 4


def shard_of(store: HostStore, check: Check) -> int:
    store.probe()
    assert store._transactions is not None
    return store._transactions._index.find(check.limiter_id, check.policy, check.key).shard
