"""One ambient deadline, which inner blocks can only bring closer."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from contextvars import copy_context
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_concurrency.runtime.deadline import (
    Deadline,
    check_deadline,
    current_deadline,
    expires_at,
    forget_deadline,
    remaining,
    within,
)
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import DeadlineExceeded

SECONDS = st.one_of(st.none(), st.floats(0.0, 1e6))


@pytest.fixture
def clock() -> ManualClock:
    """Stands at 1,000 s."""
    return ManualClock(1_000.0)


def test_outside_of_any_block_there_is_no_deadline() -> None:
    """Everything says so, and nothing is raised."""
    assert current_deadline() is None
    assert expires_at() is None
    assert remaining() is None
    check_deadline()


def test_a_block_is_the_deadline_of_what_it_holds(clock: ManualClock) -> None:
    """From its beginning to its end, whatever it ends by."""

    def fail() -> None:
        with within(2.5, clock) as deadline:
            assert current_deadline() is deadline
            assert expires_at() == 1_002.5
            assert remaining(clock) == 2.5
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert current_deadline() is None


def test_time_that_is_up_stays_up(clock: ManualClock) -> None:
    """What remains is never negative, fit for a timeout, and a check raises from then on."""
    with within(2.0, clock):
        clock.advance(1.5)
        check_deadline(clock)
        assert remaining(clock) == 0.5
        clock.advance(0.5)
        assert remaining(clock) == 0.0
        clock.advance(60.0)
        assert remaining(clock) == 0.0
        with pytest.raises(DeadlineExceeded, match="has passed"):
            check_deadline(clock)


def test_a_block_without_time_of_its_own_has_the_outer_ones(clock: ManualClock) -> None:
    """``None`` adds nothing, alone or inside; yet it can be ended by itself."""
    with within(None, clock) as group:
        assert expires_at() is None
        assert remaining(clock) is None
        group.expire()
        assert remaining(clock) == 0.0
    with within(2.0, clock):
        with within(None, clock) as group:
            assert remaining(clock) == 2.0
            group.expire()
            assert remaining(clock) == 0.0
        assert remaining(clock) == 2.0


@settings(max_examples=50)
@given(st.lists(SECONDS, min_size=1, max_size=8))
def test_an_inner_deadline_never_outlives_the_outer(levels: list[float | None]) -> None:
    """At each level it is the earliest of those so far, and on the way out each level's again."""
    clock, seen = ManualClock(0.0), list[float]()
    with ExitStack() as blocks:
        for seconds in levels:
            seen.append(blocks.enter_context(within(seconds, clock)).at)
        assert expires_at() == (None if seen[-1] == inf else seen[-1])
    told = [inf if seconds is None else seconds for seconds in levels]
    assert seen == [min(told[: n + 1]) for n in range(len(told))]


@settings(max_examples=50)
@given(st.lists(SECONDS, min_size=2, max_size=6), st.data())
def test_expiring_reaches_what_is_inside_and_nothing_else(
    levels: list[float | None], data: st.DataObject
) -> None:
    """A group's end is its children's end, and not its parents'."""
    clock, made = ManualClock(0.0), list[Deadline]()
    with ExitStack() as blocks:
        for seconds in levels:
            made.append(blocks.enter_context(within(seconds, clock)))
    before = [deadline.at for deadline in made]
    expired = data.draw(st.integers(0, len(made) - 1))
    made[expired].expire()
    assert [deadline.at for deadline in made[:expired]] == before[:expired]
    assert {deadline.at for deadline in made[expired:]} == {-inf}


@settings(max_examples=50)
@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_a_deadline_made_elsewhere_is_not_longer_than_where_it_is_entered(
    own: float, outer: float
) -> None:
    """Made before the block it is entered in, it is cut by that one all the same."""
    clock = ManualClock(0.0)
    made_before = within(own, clock)
    with within(outer, clock) as around:
        with made_before:
            assert expires_at() == min(own, outer)
            around.expire()
            assert remaining(clock) == 0.0
        assert current_deadline() is around
    assert made_before.at == own


def test_expiring_is_seen_at_once_in_other_threads(clock: ManualClock) -> None:
    """By work that has begun and holds a copy of the context: it sees the object, not the time."""
    asked, expired = threading.Event(), threading.Event()
    seen: list[float | None] = []

    def work() -> None:
        seen.append(remaining(clock))
        asked.set()
        assert expired.wait(30)
        seen.append(remaining(clock))

    with within(9.0, clock) as deadline:
        thread = threading.Thread(target=copy_context().run, args=(work,))
        thread.start()
        assert asked.wait(30)
        deadline.expire()
        expired.set()
        thread.join()
    assert seen == [9.0, 0.0]


def test_one_deadline_may_be_entered_by_many_at_once(clock: ManualClock) -> None:
    """Tasks may leave in any order, the first ones first here: each keeps its own deadline."""
    shared = within(5.0, clock)

    async def enter(mine: asyncio.Event, others: asyncio.Event) -> tuple[object, object]:
        with within(9.0, clock) as before:
            with shared:
                mine.set()
                await others.wait()
                inside = remaining(clock)
            return inside, current_deadline() is before

    async def main() -> list[tuple[object, object]]:
        first, second = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(enter(first, second), enter(second, first)))

    assert asyncio.run(main()) == [(5.0, True), (5.0, True)]
    assert current_deadline() is None


def test_a_deadline_may_be_entered_inside_itself(clock: ManualClock) -> None:
    """Each end leaves one block."""
    with within(5.0, clock) as deadline:
        with deadline:
            assert current_deadline() is deadline
        assert current_deadline() is deadline
    assert current_deadline() is None


def test_leaving_a_block_leaves_what_was_forgotten_inside(clock: ManualClock) -> None:
    """A generator that is never finished leaves no deadline behind."""

    def forgotten() -> object:
        with within(1.0, clock):
            yield

    with within(5.0, clock):
        generator = forgotten()
        next(generator)  # type: ignore[call-overload]
        assert remaining(clock) == 1.0
    assert current_deadline() is None
    del generator
    assert current_deadline() is None


def test_a_context_can_be_made_to_forget_its_deadline(clock: ManualClock) -> None:
    """For background work; the context it was copied from keeps its own."""
    with within(5.0, clock):
        context = copy_context()
        forget_deadline(context)
        assert context.run(current_deadline) is None
        assert remaining(clock) == 5.0
