"""The late guard before a pool that gives its slots to any of those that wait: some wait long."""

from __future__ import annotations

from random import Random

import pytest
from benchmarks.overload.simulation import Figures, Make, Simulation, Work, pool

from flask_concurrency.policies.overload import OverloadGuards

CAPACITY = 200.0
DEADLINE = 0.5


def run(work: Make, threads: int | None, load: float, *, fair: bool, seed: int) -> Figures:
    """What comes of so many times the capacity."""
    return Simulation(
        work,
        lambda now: CAPACITY * load,
        guards=OverloadGuards(DEADLINE),
        threads=threads,
        deadline=DEADLINE,
        seconds=8.0,
        fair=fair,
        seed=seed,
    ).run()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("threads", [64, None], ids=["64 threads", "loop"])
def test_few_are_late_for_the_slots_that_others_were_given(threads: int | None, seed: int) -> None:
    """At three times the capacity the pool stays full, and one of fifty is late at most."""
    figures = run(pool, threads, 3.0, fair=False, seed=seed)
    assert figures.good_per_second >= 0.95 * CAPACITY
    assert figures.late <= 0.02 * (figures.good + figures.late)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [64, None], ids=["64 threads", "loop"])
def test_none_is_refused_where_some_answers_take_long_by_themselves(threads: int | None) -> None:
    """One of five takes nine times as long, and all come that can be answered."""

    def two_kinds(random: Random, now: float) -> Work:
        return Work(0.001, 0.05 if random.random() < 0.8 else 0.45)

    figures = run(two_kinds, threads, 0.8, fair=True, seed=3)
    assert figures.share_refused <= 0.001
