"""The adaptive limit of a process counts each request inside exactly once on every path."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from random import Random

import pytest

from flask_concurrency import Adaptive
from flask_concurrency.admission.adaptive_limit import (
    AdaptiveLimit,
    Asker,
    ask_adaptive,
)
from flask_concurrency.policies.late_guard import Entry
from flask_concurrency.vocabulary.permit import Ending, Permit


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock | None = None, **options: int) -> AdaptiveLimit:
    """A limit of one second."""
    return AdaptiveLimit(Adaptive(**options), name="app:adaptive", clock=clock or Clock())


def enter(limit: AdaptiveLimit) -> Entry:
    """Come in."""
    entry = limit.try_acquire()
    assert isinstance(entry, Entry)
    return entry


def test_no_more_than_the_maximum_come_in() -> None:
    """And one that leaves makes room."""
    limit = make(max=3)
    entries = [enter(limit) for _ in range(3)]
    assert limit.try_acquire() == "cap"
    limit.release(entries[0])
    assert isinstance(limit.try_acquire(), Entry)
    assert (limit.admitted, limit.refused) == (4, {"age": 0, "cap": 1})


def test_who_asks_is_found_out_only_where_it_matters() -> None:
    """It costs as much as a refusal."""
    asked: list[int] = []

    def who() -> Asker:
        asked.append(1)
        return Asker("critical")

    limit = make(max=4)
    first = limit.try_acquire(who=who)
    assert asked == []
    assert isinstance(first, Entry)
    enter(limit)
    limit.try_acquire(who=who)  # half of what may be is inside
    assert asked == [1]


def test_an_exempt_request_comes_in_and_is_counted() -> None:
    """Whatever the guards say."""
    limit = make(max=1)
    enter(limit)
    assert limit.try_acquire() == "cap"
    assert isinstance(limit.try_acquire(who=lambda: Asker(exempt=True)), Entry)
    assert limit.inside == 2


def test_many_threads_leave_nothing_inside() -> None:
    """Ten thousand requests of eight threads, each of which ends in some way."""
    limit = make(max=5)
    most: list[int] = []

    def work(seed: int) -> None:
        random = Random(seed)
        held: list[Entry] = []
        for _ in range(1_250):
            if held and random.random() < 0.5:
                limit.release(held.pop(), random.choice(list(Ending)))
            else:
                entry = limit.try_acquire()
                if isinstance(entry, Entry):
                    held.append(entry)
                    most.append(limit.in_flight)
        for entry in held:
            limit.release(entry)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit.snapshot().in_flight == 0
    assert max(most) <= 5


def test_an_end_in_the_middle_of_anything_waits_for_no_lock() -> None:
    """The garbage collector may end a request on a line that holds the lock."""
    limit = make(max=1)
    entry = enter(limit)
    with limit._lock:
        limit.release(entry)
        assert limit.in_flight == 1
    assert isinstance(limit.try_acquire(), Entry)


def test_a_forked_child_has_nothing_inside() -> None:
    """What the parent has begun ends in the parent."""
    limit = make(max=1)
    entry = enter(limit)
    gc.collect()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"%d" % isinstance(limit.try_acquire(), Entry))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        assert told.read() == b"1"
    os.waitpid(child, 0)
    assert limit.try_acquire() == "cap"
    limit.release(entry)


def test_saturated_is_more_than_half_refused_within_a_second() -> None:
    """Of the last whole second, and not for long."""
    clock = Clock()
    limit = make(clock, max=1)
    entry = enter(limit)
    for _ in range(3):
        limit.try_acquire()
    clock.now += 1.0
    assert limit.saturated
    clock.now += 1.0
    assert not limit.saturated
    limit.release(entry)


def test_several_limits_are_all_or_nothing() -> None:
    """Where the second refuses, the first is given back."""
    first, second = make(max=2), make(max=1)
    permit = ask_adaptive([first, second])
    assert isinstance(permit, Permit)
    assert ask_adaptive([first, second]) is second
    assert (first.inside, second.inside) == (1, 1)
    permit.release()
    assert (first.inside, second.inside) == (0, 0)


@pytest.mark.parametrize("look", [lambda limit: limit.snapshot(), lambda limit: limit.saturated])
def test_looking_changes_nothing(look: Callable[[AdaptiveLimit], object]) -> None:
    """However often."""
    limit = make(max=1)
    entry = enter(limit)
    for _ in range(10):
        look(limit)
    assert limit.try_acquire() == "cap"
    limit.release(entry)
    assert limit.snapshot().in_flight == 0


def test_a_snapshot_says_why() -> None:
    """What was refused for which reason, and what the guards see."""
    clock = Clock()
    limit = make(clock, max=1)
    entry = enter(limit)
    for _ in range(12):
        clock.now += 0.02
        limit.try_acquire(age=0.4)
    limit.client_gone()
    found = limit.snapshot("the kernel")
    assert (found.in_flight, found.cap, found.age, found.standing) == (1, 1, 0.4, True)
    assert found.too_old > 0
    assert found.too_many > 0
    assert found.too_old + found.too_many == 12
    assert (found.admitted, found.gone, found.source) == (1, 1, "the kernel")
    limit.release(entry)
