"""Who has which segment, without any worker."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import process_watching as watching
from flask_concurrency.executors.processes.shared_memory import segment as segment_module
from flask_concurrency.executors.processes.shared_memory import segment_pool
from flask_concurrency.executors.processes.shared_memory.layout import arrange
from flask_concurrency.executors.processes.shared_memory.segment import make_descriptor, write_file
from flask_concurrency.executors.processes.shared_memory.segment_pool import (
    MAX_SEGMENTS,
    Loan,
    SegmentPool,
)
from flask_concurrency.runtime.timer_thread import Alarm, timekeeper

PAGE = 4096


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch) -> Iterator[SegmentPool]:
    """An arena of 16 pages, which leaves no descriptor behind, and which no alarm trims."""
    monkeypatch.setattr(segment_pool, "IDLE", 3600.0)
    before = watching.descriptors()
    arena = SegmentPool(16 * PAGE)
    yield arena
    arena.close()
    gc.collect()
    assert watching.descriptors() <= before


def lease(arena: SegmentPool, pages: int, byte: bytes = b"a") -> Loan:
    made = try_lease(arena, pages, byte)
    assert made is not None
    return made


def try_lease(arena: SegmentPool, pages: int, byte: bytes = b"a") -> Loan | None:
    return arena.lend([memoryview(byte * (pages * PAGE))], arrange([pages * PAGE]))


def content(of: Loan, pages: int) -> bytes:
    return os.pread(of.segment.descriptor.number, pages * PAGE, 0)


def test_a_segment_is_made_though_there_is_no_thread_to_free_it_later(
    arena: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of it is lost: it can be used again."""

    def no_thread(*_: object) -> Alarm:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(timekeeper, "call_at", no_thread)
    first = lease(arena, 2)
    first.end(reusable=True)
    assert lease(arena, 2).segment is first.segment


def test_a_segment_that_is_free_again_is_used_again(arena: SegmentPool) -> None:
    """Its memory is there already, which is most of what a segment costs."""
    first = lease(arena, 2, b"a")
    number = first.segment.number
    first.end(reusable=True)
    for byte in (b"b", b"c"):  # written as a file, then as a map
        second = lease(arena, 2, byte)
        assert second.segment.number == number
        assert content(second, 2) == byte * (2 * PAGE)
        second.end(reusable=True)
    assert arena.numbers() == (number,)


def test_a_lease_that_is_forgotten_is_over(arena: SegmentPool) -> None:
    """A task that was cancelled in the queue tells nobody."""
    number = lease(arena, 2).segment.number
    assert lease(arena, 2).segment.number == number


def test_what_a_worker_may_still_see_is_never_written_again(arena: SegmentPool) -> None:
    """A lease that was sent and not answered gives its segment up."""
    first = lease(arena, 2)
    number, first.sent = first.segment.number, True
    del first
    kept = lease(arena, 2)
    assert kept.segment.number != number
    kept.end(reusable=False)
    assert lease(arena, 2).segment.number not in (number, kept.segment.number)


def test_there_is_no_lease_beyond_the_bound(arena: SegmentPool) -> None:
    """What is free makes way, what is in use does not."""
    assert try_lease(arena, 17) is None
    free = lease(arena, 6)
    free.end(reusable=True)
    first = lease(arena, 1)
    second = lease(arena, 15)
    assert first.segment.number not in (free.segment.number, second.segment.number)
    assert arena.size == 16 * PAGE
    assert try_lease(arena, 1) is None
    first.end(reusable=True)
    assert try_lease(arena, 1) is not None


def test_there_are_only_so_many_segments() -> None:
    """Each takes descriptors, of which a process has not many."""
    arena = SegmentPool(1 << 30)
    leases = [lease(arena, 1) for _ in range(MAX_SEGMENTS)]
    assert try_lease(arena, 1) is None
    leases.pop()
    assert try_lease(arena, 1) is not None
    del leases
    arena.close()


def test_an_arena_of_nothing_leases_nothing() -> None:
    """``max_shared_memory=0`` means the socket, always."""
    arena = SegmentPool(0)
    assert try_lease(arena, 1) is None
    assert arena.result_segment(PAGE) is None
    assert arena.adopt(make_descriptor(), PAGE) is None


def test_what_is_shown_is_private_and_lasts(arena: SegmentPool) -> None:
    """The application may write to it, and no later task changes it."""
    first = lease(arena, 2)
    shown = arena.export(first.take(), 2 * PAGE)
    assert shown is not None
    second = lease(arena, 2, b"b")
    assert bytes(shown) == b"a" * (2 * PAGE)
    shown[0] = ord("c")
    assert content(first, 2) == b"a" * (2 * PAGE)
    part = shown[PAGE:]
    del shown
    assert lease(arena, 2, b"d").segment.number not in (
        first.segment.number,
        second.segment.number,
    )
    assert bytes(part) == b"a" * PAGE
    del part
    assert {lease(arena, 2).segment.number for _ in range(4)} <= set(arena.numbers())
    assert first.segment.number in arena.numbers()


def test_only_the_half_of_an_arena_is_shown(arena: SegmentPool) -> None:
    """An application that keeps its results must not leave tasks without room for arguments."""
    held = [arena.export(lease(arena, 4).take(), PAGE) for _ in range(2)]
    assert None not in held
    third = lease(arena, 4)
    assert arena.export(third.segment, PAGE) is None
    assert arena.adopt(make_descriptor(), PAGE) is None
    held.clear()
    assert arena.export(third.take(), PAGE) is not None


def test_a_fork_gives_up_what_is_shown(arena: SegmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child may look at it as long as it lives, which nobody tells."""
    first = lease(arena, 2)
    shown = arena.export(first.take(), PAGE)
    monkeypatch.setattr(segment_module, "_forks", segment_module.forks() + 1)
    del shown
    assert lease(arena, 2).segment.number != first.segment.number
    assert first.segment.number not in arena.numbers()


def test_a_segment_that_a_worker_made_becomes_one_of_the_arena(arena: SegmentPool) -> None:
    """It carries the arguments of a later call."""
    descriptor = make_descriptor()
    write_file(descriptor, [memoryview(b"r" * PAGE)], arrange([PAGE]))
    made = arena.adopt(descriptor, PAGE)
    assert made is not None
    shown = arena.export(made, PAGE)
    assert shown is not None
    assert bytes(shown) == b"r" * PAGE
    del shown
    assert lease(arena, 1).segment is made


def test_idle_segments_are_given_back_to_the_system(arena: SegmentPool) -> None:
    """Those that were not used between two looks, for which an alarm is set."""
    first = lease(arena, 2)
    used = first.segment.number
    first.end(reusable=True)
    arena.trim()
    assert arena.numbers() == (used,)
    arena.trim()
    assert arena.numbers() == ()
    assert os.fstat(first.segment.descriptor.number).st_size == 0


def test_there_is_one_alarm_at_most(arena: SegmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often memory is trimmed; and none once the arena is closed."""
    alarms: list[Alarm] = []

    def remember(at: float, callback: Callable[[], object]) -> Alarm:
        alarms.append(Alarm(at, callback, timekeeper))
        return alarms[-1]

    monkeypatch.setattr(timekeeper, "call_at", remember)
    held = lease(arena, 1)
    for _ in range(3):
        arena.trim()
    assert [alarm.callback is not None for alarm in alarms] == [False, False, False, True]
    held.end(reusable=True)
    arena.close()
    assert alarms[-1].callback is None


def test_an_alarm_trims_while_there_is_anything(
    arena: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps neither an arena alive nor itself."""
    due: list[Any] = []
    monkeypatch.setattr(timekeeper, "call_at", lambda at, callback: due.append(callback))
    arena._alarm = None
    first = lease(arena, 1)
    first.end(reusable=True)
    while due and arena.numbers():
        due.pop()()
    assert arena.numbers() == ()
    assert due == []
    forgotten = SegmentPool(16 * PAGE)
    lease(forgotten, 1).end(reusable=True)
    del forgotten
    gc.collect()
    due.pop()()
    assert due == []


def test_a_closed_arena_frees_its_memory_and_takes_nothing_back(arena: SegmentPool) -> None:
    """What is shown remains the application's."""
    free, held = lease(arena, 2), lease(arena, 2)
    shown = arena.export(lease(arena, 2, b"s").take(), PAGE)
    free.end(reusable=True)
    arena.close()
    assert os.fstat(free.segment.descriptor.number).st_size == 0
    assert try_lease(arena, 1) is None
    held.end(reusable=True)
    assert (arena.numbers(), len(arena.returned)) == ((), 0)
    assert shown is not None
    assert bytes(shown) == b"s" * PAGE


def test_no_memory_means_no_lease(arena: SegmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call goes through the socket instead."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(segment_module, "write_file", refuse)
        assert try_lease(arena, 2) is None
    with monkeypatch.context() as patched:
        patched.setattr(segment_pool, "make_descriptor", refuse)
        assert try_lease(arena, 2) is None
    assert try_lease(arena, 2) is not None
    assert len(arena.numbers()) == 1


class SegmentPools(RuleBasedStateMachine):
    """Whatever is leased, shown, returned and forgotten, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.arena = SegmentPool(16 * PAGE)
        self.byte = 0
        self.leases: list[tuple[Loan, bytes]] = []
        self.shown: list[tuple[memoryview, bytes]] = []
        self.given_up: set[int] = set()

    @rule(length=st.integers(1, 9 * PAGE))
    def lease(self, length: int) -> None:
        self.byte = (self.byte + 1) % 251
        data = bytes([self.byte]) * length
        made = self.arena.lend([memoryview(data)], arrange([length]))
        if made is not None:
            assert made.segment.number not in self.given_up
            self.leases.append((made, data))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), reusable=st.booleans(), in_words=st.booleans())
    def end(self, data: st.DataObject, reusable: bool, in_words: bool) -> None:
        chosen, _ = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        if not reusable:
            self.given_up.add(chosen.segment.number)
        chosen.sent = not reusable
        if in_words:
            chosen.end(reusable=reusable)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def show(self, data: st.DataObject) -> None:
        chosen, expected = self.leases[index := data.draw(st.integers(0, len(self.leases) - 1))]
        shown = self.arena.export(chosen.segment, len(expected))
        if shown is not None:
            chosen.take()
            del self.leases[index]
            self.shown.append((shown, expected))

    @precondition(lambda self: self.shown)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        self.shown.pop(data.draw(st.integers(0, len(self.shown) - 1)))

    @rule()
    def trim(self) -> None:
        self.arena.trim()

    @invariant()
    def the_bound_is_kept(self) -> None:
        assert self.arena.size <= 16 * PAGE

    @invariant()
    def nobody_writes_where_another_reads(self) -> None:
        for lease, expected in self.leases:
            assert os.pread(lease.segment.descriptor.number, len(expected), 0) == expected
        for view, expected in self.shown:
            assert view == expected

    def teardown(self) -> None:
        self.leases.clear()
        self.shown.clear()
        self.arena.close()
        assert self.arena.numbers() == ()


TestSegmentPools = SegmentPools.TestCase
TestSegmentPools.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
