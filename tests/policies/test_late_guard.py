"""The late guard: a cap in one step where answers are late, and a verdict on what it did."""

from __future__ import annotations

from math import inf

import pytest

from flask_concurrency.policies.late_guard import (
    FORGOTTEN,
    HUNG,
    MAX_ROUTES,
    Entry,
    LateGuard,
)


def serve(
    guard: LateGuard,
    *,
    begin: float,
    seconds: float,
    rate: float,
    takes: float,
    slots: int | None = None,
    route: str = "view",
) -> tuple[int, int]:
    """Let requests come evenly, each of which takes so long, in so many slots if there are few.

    :returns: How many were admitted and refused.
    """
    inside: list[tuple[float, Entry]] = []
    free_at = [begin] * (slots or 0)
    admitted = refused = 0
    for number in range(round(seconds * rate)):
        now = begin + number / rate
        while inside and inside[0][0] <= now:
            ends_at, entry = inside.pop(0)
            guard.leave(entry, ends_at)
        if not guard.admits(now):
            refused += 1
            continue
        entry = guard.enter(now)
        entry.route = route
        ends_at = now + takes
        if slots:
            free_at.sort()
            ends_at = max(free_at[0], now) + takes
            free_at[0] = ends_at
        inside.append((ends_at, entry))
        inside.sort(key=lambda each: each[0])
        admitted += 1
    for ends_at, entry in inside:
        guard.leave(entry, ends_at)
    return admitted, refused


def test_no_cap_while_answers_are_in_time() -> None:
    """An app that answers in time meets no cap, however many are inside."""
    guard = LateGuard(1.0)
    assert serve(guard, begin=0.0, seconds=5.0, rate=500, takes=0.4) == (2_500, 0)
    assert guard.cap == inf


def test_the_cap_is_what_ends_in_half_the_deadline() -> None:
    """Ten slots of 50 ms end 200 a second: at 50 inside each takes half of half a second.

    The first look counts a little too many, and the cap stays while answers are in time.
    """
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=4.0, rate=600, takes=0.05, slots=10)
    assert 40 <= guard.cap <= 80


def test_the_same_cut_again_changes_nothing() -> None:
    """The law gives the same cap however often it is asked: it cannot overshoot."""
    guard = LateGuard(0.5)
    caps = []
    for second in range(4, 12):
        serve(guard, begin=float(second), seconds=1.0, rate=600, takes=0.05, slots=10)
        caps.append(guard.cap)
    assert max(caps[2:]) <= 1.6 * min(caps[2:])


@pytest.mark.parametrize("rate", [60, 150, 300])
def test_what_is_slow_by_itself_is_not_cut(rate: int) -> None:
    """A route that takes twice the deadline from the beginning is never late for that."""
    guard = LateGuard(0.5)
    assert serve(guard, begin=0.0, seconds=6.0, rate=rate, takes=1.0)[1] == 0


def test_a_wait_that_a_cut_does_not_shorten_is_natural() -> None:
    """A dependency became slower than the deadline: the cut is taken back, and the base rises."""
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=2.0, rate=150, takes=0.05)
    serve(guard, begin=3.0, seconds=3.0, rate=150, takes=0.65)
    assert guard.cap == inf
    assert guard.bases["view"] >= 0.64
    assert serve(guard, begin=7.0, seconds=3.0, rate=150, takes=0.65)[1] == 0


def test_a_wait_that_a_cut_shortens_is_ours() -> None:
    """Requests that wait for each other get quicker: the cap stays, and no base rises."""
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=1.0, rate=100, takes=0.05, slots=10)
    serve(guard, begin=2.0, seconds=4.0, rate=600, takes=0.05, slots=10)
    assert guard.cap < inf
    assert guard.bases["view"] < 0.06


def test_no_base_learns_an_overload() -> None:
    """However long it lasts, a base only falls by itself."""
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=1.0, rate=100, takes=0.05, slots=10)
    base = guard.bases["view"]
    serve(guard, begin=2.0, seconds=20.0, rate=400, takes=0.05, slots=10)
    assert guard.bases["view"] <= base + 1e-9


@pytest.mark.parametrize("takes", [0.05, 0.35, 0.65])
def test_a_cold_start_after_idling_is_no_growth(takes: float) -> None:
    """Neither the idle time nor the first latency counts as time in which nothing ended."""
    guard = LateGuard(0.5)
    for hour in range(3):
        begin = 3600.0 * hour
        assert serve(guard, begin=begin, seconds=2.0, rate=150, takes=takes)[1] == 0


def test_a_burst_on_an_idle_app_comes_in() -> None:
    """Thirty at once are no growth for an app that was quick."""
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=1.0, rate=50, takes=0.01)
    entries = []
    for _ in range(30):
        assert guard.admits(10.0)
        entries.append(guard.enter(10.0))
    for number, entry in enumerate(entries):
        guard.leave(entry, 10.0 + 0.01 * (number + 1))
    assert guard.cap == inf


def test_a_hang_is_noticed_though_nothing_ends() -> None:
    """Most of those inside are late already: no more than a quarter may follow."""
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=1.0, rate=100, takes=0.02)
    admitted = 0
    for number in range(400):
        now = 2.0 + number / 100
        if guard.admits(now):
            guard.enter(now)
            admitted += 1
    assert guard.cap < inf
    assert admitted < 200


def test_what_hangs_does_not_keep_the_others_out() -> None:
    """Where nothing has ended for two deadlines those inside count no more: others come in."""
    guard = LateGuard(0.5, most=10)
    for _ in range(10):
        guard.enter(0.0)
    assert not guard.admits(HUNG * 0.5 - 0.01)
    assert guard.admits(HUNG * 0.5 + 0.1)
    assert (guard.in_flight, guard.hung) == (0, 10)


def test_what_was_overtaken_long_ago_counts_no_more() -> None:
    """One of ten requests hangs, the others end and new ones begin."""
    guard = LateGuard(0.5, most=10)
    guard.enter(0.0)
    for tenth in range(1, 20):
        now = tenth / 10
        entries = [guard.enter(now) for _ in range(10 - guard.in_flight)]
        guard.admits(now + 0.05)
        for entry in entries:
            guard.leave(entry, now + 0.05)
    assert (guard.in_flight, guard.hung) == (0, 1)


def test_a_queue_is_not_taken_for_hung() -> None:
    """Where those inside wait for each other the first end first, and all of them count."""
    guard = LateGuard(0.5, most=500)
    entries = [guard.enter(number / 200) for number in range(500)]
    for number, entry in enumerate(entries[:300]):
        guard.leave(entry, 1.5 + number / 200)
    guard.admits(3.0)
    assert guard.hung == 0
    assert guard.in_flight == 200


def test_one_that_hung_may_still_end() -> None:
    """It is counted out once, and its end changes nothing else."""
    guard = LateGuard(0.5, most=1)
    entry = guard.enter(0.0)
    assert guard.admits(5.0)
    second = guard.enter(5.0)
    guard.leave(entry, 6.0)
    guard.leave(second, 6.0)
    assert (guard.in_flight, guard.hung) == (0, 0)


def test_a_cap_that_holds_up_nothing_is_forgotten() -> None:
    """It was for a load that is over."""
    guard = LateGuard(0.5)
    serve(guard, begin=0.0, seconds=3.0, rate=600, takes=0.05, slots=10)
    assert guard.cap < inf
    serve(guard, begin=4.0, seconds=FORGOTTEN + 2.0, rate=50, takes=0.05, slots=10)
    assert guard.cap == inf


def test_the_first_always_comes_in() -> None:
    """Whatever the cap and the share of a priority, an idle app takes one."""
    guard = LateGuard(0.5, most=1)
    assert guard.admits(0.0, share=0.5)
    guard.enter(0.0)
    assert not guard.admits(0.0, share=0.5)
    assert guard.admits(0.0, share=1.25, spare=1)


def test_given_up_requests_teach_nothing_unless_late() -> None:
    """A client that leaves at once does not make a route look quick; one that waited does count."""
    guard = LateGuard(0.5)
    guard.leave(guard.enter(0.0), 0.001, teaches=False)
    guard.leave(guard.enter(10.0), 10.45, teaches=False)
    assert guard.bases == {"": pytest.approx(0.45)}


def test_bases_are_bounded() -> None:
    """An app that invents routes costs no more than one that has many."""
    guard = LateGuard(0.5)
    for number in range(3 * MAX_ROUTES):
        entry = guard.enter(number * 10.0)
        entry.route = f"route {number}"
        guard.leave(entry, number * 10.0 + 0.01)
    assert len(guard.bases) == MAX_ROUTES


def test_a_cut_that_is_not_kept_is_not_judged_for_ever() -> None:
    """Critical and exempt requests may keep more inside than the cap: later looks go on."""
    guard = LateGuard(0.5)
    inside: list[tuple[float, Entry]] = []
    free_at = [0.0] * 10
    judging: list[bool] = []
    for number in range(4_000):
        now = number / 400
        while inside and inside[0][0] <= now:
            ends_at, entry = inside.pop(0)
            guard.leave(entry, ends_at)
        entry = guard.enter(now)  # whatever the guard says
        free_at.sort()
        free_at[0] = max(free_at[0], now) + 0.05
        inside.append((free_at[0], entry))
        inside.sort(key=lambda each: each[0])
        judging.append(guard.judging)
    first = judging.index(True)
    assert not all(judging[first:])
