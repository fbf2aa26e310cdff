"""The age guard: a queue that stands is cut down, a burst is let be."""

from __future__ import annotations

import pytest

from flask_concurrency.policies.age_guard import INTERVAL, AgeGuard

A_BURST = [  # (now, age) -> refused, with a target of 0.1 s
    ((0.00, 0.30), False),
    ((0.05, 0.25), False),
    ((0.09, 0.20), False),
    ((0.10, 0.05), False),  # a young one before the interval was over: the queue had emptied
    ((0.12, 0.30), False),  # so the interval begins anew
    ((0.21, 0.30), False),
]
A_STANDING_QUEUE = [
    ((0.00, 0.12), False),
    ((0.06, 0.18), False),
    ((0.10, 0.20), True),  # old for a whole interval
    ((0.11, 0.10), False),  # as old as the target is young enough
    ((0.12, 0.15), True),
    ((0.20, 0.05), False),
    ((0.22, 0.15), True),  # it stands until a whole interval had no old one
    ((0.33, 0.05), False),
    ((0.34, 0.15), False),
]


@pytest.mark.parametrize("table", [A_BURST, A_STANDING_QUEUE], ids=["burst", "standing queue"])
def test_only_a_standing_queue_is_cut_down(table: list[tuple[tuple[float, float], bool]]) -> None:
    """What is old is refused once every request of an interval was old, until none is."""
    guard = AgeGuard(1.0)
    assert [guard.refuses(now, age) for (now, age), _ in table] == [told for _, told in table]


def test_an_instant_of_long_ago_does_not_end_a_standing_queue() -> None:
    """A thread may be held up between reading the clock and asking; others asked meanwhile."""
    guard = AgeGuard(1.0)
    for now in (0.0, 0.05, INTERVAL, 0.19):
        guard.refuses(now, 0.2)
    assert guard.refuses(0.05, 0.2)
    assert not guard.refuses(0.2, 0.05)
    assert guard.standing


def test_the_patient_are_refused_last() -> None:
    """A request of four times the patience may be four times as old, one of half half as old."""
    guard = AgeGuard(1.0)
    for now in (0.0, 0.05, INTERVAL):
        guard.refuses(now, 0.2)
    assert guard.standing
    assert not guard.refuses(0.11, 0.4, patience=4.0)
    assert guard.refuses(0.11, 0.41, patience=4.0)
    assert guard.refuses(0.11, 0.06, patience=0.5)


def test_the_impatient_must_be_young_when_all_are() -> None:
    """Single ages may be wrong: one that looks young while others are old is no exception."""
    guard = AgeGuard(1.0)
    for now in (0.0, 0.02, 0.04, 0.06, 0.08, INTERVAL):
        guard.refuses(now, 0.2)
    assert guard.refuses(0.11, 0.01, patience=0.5)
    assert not guard.refuses(0.11, 0.01)
    for _ in range(30):
        guard.refuses(0.12, 0.04)
    assert guard.refuses(0.13, 0.06, patience=0.5)
    assert not guard.refuses(0.13, 0.05, patience=0.5)


def test_it_stands_as_long_as_it_refuses_the_impatient() -> None:
    """Otherwise those would be admitted again and again, and the others would wait for them."""
    guard = AgeGuard(1.0)
    for now in (0.0, 0.05, INTERVAL):
        guard.refuses(now, 0.2)
    for step in range(1, 20):
        assert guard.refuses(INTERVAL + step * 0.09, 0.06, patience=0.5)


def test_an_unknown_age_refuses_nothing() -> None:
    """Where no age is known it is zero, and the guard never stands."""
    guard = AgeGuard(0.5)
    assert not any(guard.refuses(now / 100, 0.0, patience=0.5) for now in range(1_000))
