"""Which idle thread of a pool is woken, and that none is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.executors.threads.parked_threads import ParkedThread, ParkedThreads

PoolOf = Callable[..., ThreadExecutor]


class Named(ParkedThread):
    """Says in a list that it was woken."""

    def __init__(self, name: str, woken: list[str]) -> None:
        self.wake = lambda: woken.append(name)


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def idle(woken: list[str]) -> ParkedThreads:
    """Ann, Bob and Cem have parked, in this order."""
    idle = ParkedThreads()
    for name in ("Ann", "Bob", "Cem"):
        idle.add(Named(name, woken))
    return idle


def test_the_one_that_parked_last_is_woken(idle: ParkedThreads, woken: list[str]) -> None:
    """What it used last is still at hand."""
    idle.wake_one()
    assert woken == ["Cem"]


def test_no_other_is_woken_before_it_has_come(idle: ParkedThreads, woken: list[str]) -> None:
    """It finds all that is to be done, and calls the next by itself."""
    for _ in range(3):
        idle.wake_one()
    assert woken == ["Cem"]
    idle.arrived()
    idle.wake_one()
    assert woken == ["Cem", "Bob"]


def test_one_that_parks_again_is_the_next(idle: ParkedThreads, woken: list[str]) -> None:
    """The others stay where they are."""
    idle.wake_one()
    idle.arrived()
    idle.add(Named("Cem", woken))
    idle.wake_one()
    assert woken == ["Cem", "Cem"]


def test_all_are_woken_at_the_end(idle: ParkedThreads, woken: list[str]) -> None:
    """Once each; nothing happens where none are left."""
    idle.wake_one()
    idle.wake_all()
    idle.wake_all()
    idle.wake_one()
    assert sorted(woken) == ["Ann", "Bob", "Cem"]


def test_a_wake_is_kept_for_a_thread_that_is_about_to_park() -> None:
    """Whichever comes first."""
    thread = ParkedThread()
    thread.wake()
    thread.park()


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_tasks_that_come_at_once_all_have_a_thread(pool_of: PoolOf, workers: int) -> None:
    """None waits behind one that blocks, whether its thread is new or was idle."""
    pool = pool_of(workers)
    for _ in range(20):
        meeting = threading.Barrier(workers)
        met: list[Any] = [pool.submit(meeting.wait, 30) for _ in range(workers)]
        assert sorted(one.result(30) for one in met) == list(range(workers))
