"""What ``flask concurrency tune`` makes of what it measured: the curve, and the advice."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.cli.tune.advice import advise
from flask_concurrency.cli.tune.scalability import Level, Scalability, fit, knee

STEPS = (1, 2, 4, 8, 16, 32)


def measured(law: Scalability, *, cpu: float = 0.1) -> list[Level]:
    """What a server would do that obeys the law."""
    levels = []
    for n in STEPS:
        throughput = law.throughput(n)
        levels.append(Level(n, throughput, n / throughput, throughput * cpu))
    return levels


@given(
    rate=st.floats(1, 5_000),
    queueing=st.floats(0, 0.9),
    crosstalk=st.floats(0, 0.02),
)
def test_a_law_is_found_again(rate: float, queueing: float, crosstalk: float) -> None:
    """From what it predicts at six levels."""
    law = Scalability(rate, queueing, crosstalk)
    found = fit(measured(law))
    for n in STEPS:
        assert found.throughput(n) == pytest.approx(law.throughput(n), rel=1e-3)


def test_no_term_is_negative() -> None:
    """Measurements scatter; a server that does more than twice as much at two has no law of it."""
    levels = [Level(n, x, n / x, 0.0) for n, x in ((1, 10), (2, 23), (4, 46), (8, 88))]
    found = fit(levels)
    assert found.queueing >= 0
    assert found.crosstalk >= 0
    assert found.peak == inf


def test_the_peak_is_where_throughput_is_highest() -> None:
    """Its neighbours do less."""
    law = Scalability(100.0, 0.05, 0.001)
    assert law.throughput(law.peak) > law.throughput(law.peak * 1.2)
    assert law.throughput(law.peak) > law.throughput(law.peak / 1.2)


def test_two_levels_are_no_curve() -> None:
    """Three unknowns need three."""
    with pytest.raises(ValueError, match="Three different levels"):
        fit([Level(1, 1, 1, 0), Level(2, 2, 1, 0)])


def test_the_knee_is_the_lowest_level_near_the_highest_throughput() -> None:
    """Beyond it only waits grow."""
    levels = [
        Level(n, x, n / x, 0.0) for n, x in ((1, 10), (2, 20), (4, 38), (8, 40), (16, 41), (32, 39))
    ]
    assert knee(levels).concurrency == 4


def levels_of(service: float, cpu: float, *, places: int | None = None) -> list[Level]:
    """A server whose answers take ``service`` seconds, ``cpu`` of them on its one interpreter, and
    which lets ``places`` in at once."""
    found = []
    for n in STEPS:
        throughput = min(n / service, 1 / cpu)
        if places is not None:
            throughput = min(throughput, places / service)
        found.append(Level(n, throughput, n / throughput, throughput * cpu))
    return found


KNOWN = [
    # service, cpu, places -> bound, places, in flight on two processors
    ("it only computes", 0.01, 0.01, None, "interpreter", None, 2),
    ("it computes and waits as long", 0.02, 0.01, None, "interpreter", None, 4),
    ("a lock lets one in", 0.05, 0.001, 1, "pool", 1, 1),
    ("a pool lets four in", 0.05, 0.001, 4, "pool", 4, 4),
    ("it only waits", 0.2, 0.0005, None, "waiting", None, 128),
]


@pytest.mark.parametrize(("what", "service", "cpu", "places", "bound", "found", "in_flight"), KNOWN)
def test_the_bottleneck_is_named_and_the_limit_is_its_size(
    what: str,
    service: float,
    cpu: float,
    places: int | None,
    bound: str,
    found: int | None,
    in_flight: int,
) -> None:
    """For five servers whose bottleneck is known."""
    advice = advise(levels_of(service, cpu, places=places), processors=2)
    assert (advice.bound, advice.places) == (bound, found), advice.reasons
    assert advice.in_flight == in_flight
    assert advice.threads * advice.workers >= advice.in_flight
    assert all(reason.endswith((".", "?")) for reason in advice.reasons)


def test_more_processors_bring_more_workers_and_no_larger_pool() -> None:
    """What all workers share does not grow with them."""
    computing, pooled = levels_of(0.01, 0.01), levels_of(0.05, 0.001, places=4)
    assert [advise(computing, processors=n).workers for n in (1, 8)] == [1, 8]
    assert [advise(pooled, processors=n).in_flight for n in (1, 8)] == [4, 4]
