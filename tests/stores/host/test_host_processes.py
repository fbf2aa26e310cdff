"""Real processes on one host store, some of them killed at any instant."""

from __future__ import annotations

import fcntl
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.host import private_file
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.store import Check

DAY = 86_400.0

OpenStore = Callable[..., HostStore]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, params=["byte locks", "whole file"])
def _kind_of_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "whole file":
        monkeypatch.setattr(private_file, "known_for", lambda descriptor: False)


def start(work: Callable[[], object]) -> int:
    """Do something in a process of its own; gives its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "policy",
    [
        SlidingWindow(100, DAY),
        FixedWindow(100, DAY),
        TokenBucket(100, DAY, 100),
        InFlightCount(100),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_processes_count_exactly(policy: Policy, open_store: OpenStore) -> None:
    """Four processes ask 100 times each for a quota of 100: exactly 100 get it."""
    reading, writing = os.pipe()
    go, tell_go = os.pipe()
    check = Check("r", policy, "k", 1)
    stay, end = os.pipe()

    def hammer() -> None:
        os.close(tell_go)
        os.close(end)
        store = open_store(max_keys=4_096, timeout=30.0)
        os.read(go, 1)  # until all may go
        for _ in range(100):
            if store.take([check])[0].admitted:
                os.write(writing, b"!")
        os.write(writing, b".")
        os.read(stay, 1)  # what it holds would come back with its end

    children = [start(hammer) for _ in range(4)]
    os.close(tell_go)
    told = b""
    while told.count(b".") < 4:
        told += os.read(reading, 4_096)
    os.close(end)
    assert all(map(ended_well, children))
    assert told.count(b"!") == 100
    for descriptor in (reading, writing, go, stay):
        os.close(descriptor)


def test_permits_of_a_killed_process_come_back_at_once(open_store: OpenStore) -> None:
    """The very next request finds all of them."""
    inside = Check("f", InFlightCount(3), "k", 3)
    reading, writing = os.pipe()

    def hold() -> None:
        assert open_store().take([inside])[0].admitted
        os.write(writing, b"!")
        signal.pause()

    store = open_store()
    for _ in range(10):
        child = start(hold)
        os.read(reading, 1)
        assert not store.take([inside])[0].admitted
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert store.take([inside])[0].admitted
        store.give_back([inside])
    os.close(reading)
    os.close(writing)


def test_kills_at_any_instant_break_nothing(open_store: OpenStore, tmp_path: Path) -> None:
    """Forty processes are killed while they take, hold and return.

    Never more than three are inside, no quota is exceeded, each death costs at most the one
    request that was being counted, and the last ones still count.
    """
    quota, kills = 8_000, 40
    rates = [
        Check("sliding", SlidingWindow(quota, DAY), "k", 1),
        Check("fixed", FixedWindow(quota, DAY), "k", 1),
        Check("brief", SlidingWindow(10, 1e-3), "k", 1, shadow=True),
    ]
    inside = Check("f", InFlightCount(3), "everybody", 1)
    places = [tmp_path / f"place{number}" for number in range(3)]
    for path in places:
        path.touch()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)  # no writer runs far ahead of the killer

    def live() -> None:
        # Opened before the store, so that a dying process closes it before its permit returns.
        descriptors = [os.open(path, os.O_RDWR) for path in places]
        store = open_store(max_keys=4_096, max_processes=64, timeout=30.0)
        while True:
            checks = [*rates, inside]
            outcomes = store.take(checks)
            if not outcomes[0].admitted or not outcomes[1].admitted:
                break
            if not outcomes[3].admitted:
                continue
            taken = next((place for place in descriptors if _enter(place)), None)
            assert taken is not None, "a fourth is inside"
            os.write(writing, b"!")
            fcntl.flock(taken, fcntl.LOCK_UN)
            store.give_back([inside])

    chance = random.Random(7)
    children = {start(live) for _ in range(4)}
    admitted = 0
    for _ in range(kills):
        admitted += len(os.read(reading, chance.randrange(1, 60)))
        victim = chance.choice(sorted(children))
        os.kill(victim, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]) == -signal.SIGKILL
        children.remove(victim)
        children.add(start(live))
    os.close(writing)
    while more := os.read(reading, 65_536):
        admitted += len(more)
    assert all(map(ended_well, children))
    assert quota - kills <= admitted <= quota
    store = open_store(max_keys=4_096)
    assert [store.take([inside])[0].admitted for _ in range(4)] == [True, True, True, False]
    os.close(reading)


def _enter(place: int) -> bool:
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
