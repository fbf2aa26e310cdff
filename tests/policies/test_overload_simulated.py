"""Both guards against servers that are only arithmetic: what an overloaded app still answers.

The capacity is 200 a second in each, and the deadline half a second. Nothing is tuned to any.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from benchmarks.overload.simulation import (
    Figures,
    Make,
    Simulation,
    Work,
    ceiling,
    cpu,
    fast_and_slow,
    mix,
    pool,
    slower,
)

from flask_concurrency.policies.overload import OverloadGuards

CAPACITY = 200.0
DEADLINE = 0.5
LOOP = None
SERVERS = [
    pytest.param(cpu, 1, id="cpu, one thread"),
    pytest.param(cpu, 16, id="cpu, 16 threads"),
    pytest.param(cpu, LOOP, id="cpu, loop"),
    pytest.param(mix, 16, id="mix, 16 threads"),
    pytest.param(mix, 64, id="mix, 64 threads"),
    pytest.param(mix, LOOP, id="mix, loop"),
    pytest.param(pool, 16, id="pool, 16 threads"),
    pytest.param(pool, 64, id="pool, 64 threads"),
    pytest.param(pool, LOOP, id="pool, loop"),
]


def run(
    work: Make,
    threads: int | None,
    load: float | Callable[[float], float],
    *,
    guarded: bool = True,
    seconds: float = 8.0,
    seed: int = 1,
    label: Callable[[Work], object] = lambda work: work.route,
    refusal: float = 0.0002,
    deadline: float = DEADLINE,
    retries: int = 0,
) -> Figures:
    """What comes of so many times the capacity."""
    rate = load if callable(load) else lambda now: CAPACITY * load
    return Simulation(
        work,
        rate,
        guards=OverloadGuards(deadline) if guarded else None,
        threads=threads,
        deadline=deadline,
        seconds=seconds,
        seed=seed,
        label=label,
        refusal=refusal,
        retries=retries,
    ).run()


def of_ceiling(work: Make, load: float, figures: Figures) -> float:
    """The share of what is possible that was answered in time."""
    scarce = 0.0 if work is pool else 0.005
    return figures.good_per_second / CAPACITY / ceiling(load, scarce)


@pytest.mark.parametrize(("work", "threads"), SERVERS)
def test_an_app_at_three_times_its_capacity_does_what_it_can(
    work: Make, threads: int | None
) -> None:
    """At least 95 % of what is possible is answered in time, and 99 of 100 answers are in time."""
    figures = run(work, threads, 3.0)
    assert of_ceiling(work, 3.0, figures) >= 0.95
    assert figures.p99 <= DEADLINE


@pytest.mark.parametrize("work", [cpu, mix, pool])
def test_an_app_without_guards_answers_nothing_in_time(work: Make) -> None:
    """The model shows what it is for: the same load without guards."""
    assert run(work, 16, 3.0, guarded=False, seconds=6.0).good == 0


@pytest.mark.parametrize(("work", "threads"), SERVERS)
def test_a_busy_app_that_keeps_up_refuses_nothing(work: Make, threads: int | None) -> None:
    """At 0.8 of the capacity no more than one in a thousand is refused."""
    assert run(work, threads, 0.8).share_refused <= 0.001


@pytest.mark.parametrize(("work", "threads"), [(cpu, 16), (mix, LOOP), (pool, 64)])
def test_at_ten_times_the_capacity_refusals_are_what_it_costs(
    work: Make, threads: int | None
) -> None:
    """90 % of what refusals leave is answered in time."""
    figures = run(work, threads, 10.0, seconds=6.0)
    assert of_ceiling(work, 10.0, figures) >= 0.9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_slow_first_request_does_not_make_overload_look_natural(seed: int) -> None:
    """An app that starts under ten times its load: its loop is held up for 0.3 s by the first
    request, and refusals take most of what there is. A queue stands before it, so it is no slow
    dependency, and 95 % of what is possible is answered in time."""
    come = iter(range(10_000))

    def work(random: Random, now: float) -> Work:
        made = pool(random, now)
        if next(come) == 0:
            made.cpu = 0.3
        return made

    figures = run(work, LOOP, 9.7, seconds=4.5, seed=seed, refusal=0.0004)
    assert figures.good_per_second >= 0.95 * CAPACITY


@pytest.mark.parametrize("threads", [64, LOOP])
def test_a_step_to_five_times_leaves_no_hole(threads: int | None) -> None:
    """No half second answers less than 70 %, and half a second after the end it is as before."""
    figures = run(pool, threads, lambda now: CAPACITY * (5 if 4 <= now < 6 else 0.8))
    during = [2 * figures.good_at[half] for half in range(8, 12)]
    assert min(during) >= 0.7 * CAPACITY
    assert sum(figures.refused_at[half] for half in range(13, 16)) == 0


@pytest.mark.parametrize(("work", "threads"), [(mix, 16), (mix, LOOP), (pool, LOOP)])
def test_clients_that_try_again_at_once_do_not_keep_an_overload_up(
    work: Make, threads: int | None
) -> None:
    """Each refused client comes back three times; a second after the end nothing is refused."""
    step = run(work, threads, lambda now: CAPACITY * (3 if 3 <= now < 5 else 0.7), retries=3)
    assert sum(step.refused_at[half] for half in range(6, 10)) > 0
    assert sum(step.refused_at[half] for half in range(12, 16)) == 0
    assert step.late == 0


@pytest.mark.parametrize(("extra", "load"), [(0.3, 0.6), (0.3, 0.4)], ids=["at 0.6", "at 0.4"])
def test_a_dependency_that_becomes_slower_is_no_overload(extra: float, load: float) -> None:
    """It takes 300 ms longer for three seconds, within the deadline: nothing is refused."""
    figures = run(slower(mix, extra, 4.0, 7.0), LOOP, load, seconds=9.0)
    assert figures.refused == 0


def test_a_dependency_slower_than_the_deadline_costs_few() -> None:
    """Every answer is late for three seconds; a tenth is refused until it is clear why."""
    refused = arrived = 0
    for seed in range(4):
        figures = run(slower(mix, 0.6, 4.0, 7.0), LOOP, 0.8, seconds=8.0, seed=seed)
        refused += figures.refused
        arrived += sum(figures.arrived_at[half] for half in range(8, 14))
    assert refused / arrived <= 0.1


def test_a_slow_route_among_fast_ones_is_not_refused() -> None:
    """One in ten takes a second, twice the deadline, and is served for all that."""
    figures = run(fast_and_slow, LOOP, 1.0)
    assert figures.share_refused <= 0.001
    assert figures.good == figures.arrived


def critical(share: float) -> Make:
    """Mixed work of which a share is critical."""

    def make(random: Random, now: float) -> Work:
        work = mix(random, now)
        work.priority = "critical" if random.random() < share else "normal"
        return work

    return make


@pytest.mark.parametrize("threads", [16, LOOP])
def test_critical_requests_are_answered_whatever_comes_beside_them(threads: int | None) -> None:
    """Three quarters of the capacity are critical, five times the capacity comes in all."""
    make = critical(0.75 / 5)
    figures = run(make, threads, 5.0, label=lambda work: work.priority, refusal=0.00007)
    answered = figures.good_by["critical"] / figures.arrived_by["critical"]
    assert answered >= 0.995


def keyed(work: Make, greedy: float) -> Make:
    """The work of fifty clients, and of one that sends so much of it."""

    def make(random: Random, now: float) -> Work:
        made = work(random, now)
        made.key = 0 if random.random() < greedy else 1 + random.randrange(50)
        return made

    return make


@pytest.mark.parametrize(("work", "threads"), [(cpu, 1), (mix, LOOP), (pool, LOOP)])
def test_a_greedy_client_leaves_the_others_their_share(work: Make, threads: int | None) -> None:
    """One sends as much as fifty others, three times the capacity in all: each gets as much."""
    make = keyed(work, 0.5)
    figures = run(make, threads, 3.0, label=lambda made: made.key, seconds=16.0)
    got = [figures.good_by[key] for key in range(51)]
    jain = sum(got) ** 2 / (len(got) * sum(each * each for each in got))
    assert jain >= 0.95
    assert of_ceiling(work, 3.0, figures) >= 0.95


def test_a_greedy_client_gets_what_the_others_leave() -> None:
    """Shares refuse nothing of a capacity that would stay unused."""
    make = keyed(mix, 0.9)
    figures = run(make, LOOP, 3.0, label=lambda made: made.key, seconds=12.0)
    others = sum(figures.good_by[key] for key in range(1, 51))
    assert others >= 0.95 * sum(figures.arrived_by[key] for key in range(1, 51))
    assert of_ceiling(mix, 3.0, figures) >= 0.95


def test_the_same_seed_gives_the_same_run() -> None:
    """Nothing of a clock or of another run is in it."""
    assert run(mix, 16, 3.0, seconds=5.0) == run(mix, 16, 3.0, seconds=5.0)
