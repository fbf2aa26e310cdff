"""What ``flask concurrency tune`` makes of what it measured: the curve, and the advice."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.cli.tune.advice import (
    ALL_BUT,
    MOST_THREADS,
    MOST_TRIED,
    advise,
    look,
    to_try,
)
from flask_concurrency.cli.tune.offered_load import steady_rate
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


def together_of(
    alone: list[Level], *, workers: int, own: bool, uneven: float = 1.0
) -> tuple[Level, ...]:
    """What several workers would do at the limits that are tried.

    :param own: Whether each brings as much again, and does not share with the others.
    :param uneven: Share of their capacity that requests reach which come to them by chance.
    """
    seen = look(alone)
    most = seen.best.throughput * (workers if own else 1)
    found = []
    for n in to_try(seen, workers=workers):
        reached = min(1.0, uneven * n / (seen.inside * (workers if own else 1)))
        found.append(Level(n, most * reached, n / (most * reached), 0.0))
    return tuple(found)


@pytest.mark.parametrize(
    ("own", "workers", "in_flight"), [(True, 2, 8), (False, 2, 4), (True, 4, 16)]
)
def test_a_pool_of_each_worker_is_told_from_one_they_share(
    own: bool, workers: int, in_flight: int
) -> None:
    """By what several workers do together."""
    alone = levels_of(0.05, 0.001, places=4)
    together = together_of(alone, workers=workers, own=own)
    advice = advise(alone, together, processors=workers, workers=workers)
    assert (advice.bound, advice.places) == ("pool", 4)
    assert (advice.workers, advice.in_flight) == (workers, in_flight)
    whose = "Each worker has one of its own" if own else "The workers share it"
    assert any(reason.startswith(whose) for reason in advice.reasons)


def test_a_lock_that_all_share_needs_one_worker() -> None:
    """More would only wait for it."""
    alone = levels_of(0.05, 0.001, places=1)
    shared = together_of(alone, workers=4, own=False)
    assert advise(alone, shared, processors=4, workers=4).workers == 1
    own = together_of(alone, workers=4, own=True)
    assert advise(alone, own, processors=4, workers=4).workers == 4


@given(uneven=st.floats(0.3, 1.0), workers=st.integers(2, 8))
def test_the_limit_is_the_lowest_that_brings_nearly_all(uneven: float, workers: int) -> None:
    """Requests do not come to workers in turn: how many more are needed is what was measured."""
    alone = levels_of(0.02, 0.01)
    together = together_of(alone, workers=workers, own=True, uneven=uneven)
    advice = advise(alone, together, processors=workers, workers=workers)
    did = {level.concurrency: level.throughput for level in together}
    enough = [n for n, throughput in did.items() if throughput >= ALL_BUT * max(did.values())]
    assert advice.in_flight == min(enough)
    assert advice.threads * advice.workers > advice.in_flight


@pytest.mark.parametrize("waits", [0.0, 0.01, 0.04])
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_where_requests_come_to_workers_by_chance_the_limit_brings_nine_tenths(
    workers: int, waits: float
) -> None:
    """In a closed network of ``w`` queues, ``n`` requests keep ``n / (n + w - 1)`` of them busy."""
    alone = levels_of(0.01 + waits, 0.01)

    def did(n: float) -> float:
        queued = n / (1 + waits / 0.01)  # the others wait
        return workers / 0.01 * queued / (queued + workers - 1)

    tried = to_try(look(alone), workers=workers)
    together = [Level(n, did(n), n / did(n), 0.0) for n in tried]
    advice = advise(alone, together, processors=workers, workers=workers)
    assert did(advice.in_flight) >= 0.9 * did(128 * workers)


def test_one_processor_is_given_one_worker_although_two_were_tried() -> None:
    """Two of them were to show whether a pool is of each; a limit for two is none for one."""
    alone = levels_of(0.02, 0.01)
    together = together_of(alone, workers=2, own=False)
    advice = advise(alone, together, processors=1, workers=2)
    assert (advice.workers, advice.in_flight) == (1, 2)


@pytest.mark.parametrize(("what", "service", "cpu", "places", "bound", "found", "_"), KNOWN)
@pytest.mark.parametrize("left", [0.7, 0.5])
def test_other_processes_do_not_hide_the_bottleneck(
    left: float,
    what: str,
    service: float,
    cpu: float,
    places: int | None,
    bound: str,
    found: int | None,
    _: int,
) -> None:
    """A server that others leave half a processor is busy with that half."""
    alone = []
    for level in levels_of(service, cpu, places=places):
        did = min(level.throughput, left / cpu)
        held_up = did * cpu * (1 / left - 1)
        alone.append(Level(level.concurrency, did, level.concurrency / did, did * cpu, held_up))
    alone[0] = replace(alone[0], latency=service)  # undisturbed
    assert (look(alone).bound, look(alone).places) == (bound, found)


@pytest.mark.parametrize("places", [1, 4, 1_000])
@pytest.mark.parametrize("under_way", [1, 4, 32])
@pytest.mark.parametrize("seconds", [0.99, 1.0, 1.07])
def test_a_rate_is_that_of_the_server_whenever_the_sending_ends(
    places: int, under_way: int, seconds: float
) -> None:
    """Neither the queue that builds up first nor the last answers count for more or less."""
    service = 0.05
    free = [0.0] * places
    due = [0.0] * under_way  # when each sender sends next
    answered_at: list[list[float]] = [[] for _ in due]
    while min(due) < seconds:
        sender, place = due.index(min(due)), free.index(min(free))
        ends_at = max(due[sender], free[place]) + service
        due[sender] = free[place] = ends_at
        answered_at[sender].append(ends_at)
    rate = steady_rate(answered_at, max(max(at) for at in answered_at))
    assert rate == pytest.approx(min(places, under_way) / service, rel=0.06)


@given(late=st.integers(0, 31), by=st.floats(0.0, 0.29))
def test_one_late_answer_is_one_of_many(late: int, by: float) -> None:
    """Thirty-two requests that wait 0.3 s each are answered in waves; the last answer of all is
    late, as on a busy machine."""
    answered_at = [[0.3 * wave for wave in range(1, 8)] for _ in range(32)]
    answered_at[late][-1] += by
    assert steady_rate(answered_at, 2.4) == pytest.approx(32 / 0.3, rel=0.01)


def test_a_rate_of_senders_that_were_answered_once_is_that_of_all_the_time() -> None:
    """There is nothing else to count by."""
    assert steady_rate([[1.0], [2.0], []], 2.0) == 1.0


@given(
    service=st.floats(0.001, 10),
    share=st.floats(0, 1),
    held_up=st.floats(0, 20),
    places=st.none() | st.integers(1, 100),
    workers=st.integers(2, 32),
)
def test_whatever_is_measured_the_advice_can_be_followed(
    service: float, share: float, held_up: float, places: int | None, workers: int
) -> None:
    """A server takes so many threads, and each limit that is tried leaves some of them free."""
    cpu = max(1e-6, share * service)
    alone = [replace(each, held_up=held_up) for each in levels_of(service, cpu, places=places)]
    seen = look(alone)
    tries = to_try(seen, workers=workers)
    assert tries == tuple(sorted(set(tries)))
    assert 1 <= tries[0] <= tries[-1] <= max(MOST_TRIED, 4 * MOST_THREADS * workers)
    together = together_of(alone, workers=workers, own=True)
    advice = advise(alone, together, processors=workers, workers=workers)
    assert advice.threads * advice.workers > advice.in_flight >= 1
