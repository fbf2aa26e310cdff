"""Which task has which segment, without any worker."""

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
def segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[SegmentPool]:
    """a segment pool of 16 pages, which leaves no descriptor behind, and which no alarm trims."""
    monkeypatch.setattr(segment_pool, "IDLE", 3600.0)
    before = watching.descriptors()
    segments = SegmentPool(16 * PAGE)
    yield segments
    segments.close()
    gc.collect()
    assert watching.descriptors() <= before


def lend(segments: SegmentPool, pages: int, byte: bytes = b"a") -> Loan:
    made = try_lend(segments, pages, byte)
    assert made is not None
    return made


def try_lend(segments: SegmentPool, pages: int, byte: bytes = b"a") -> Loan | None:
    return segments.lend([memoryview(byte * (pages * PAGE))], arrange([pages * PAGE]))


def content(of: Loan, pages: int) -> bytes:
    return os.pread(of.segment.descriptor.number, pages * PAGE, 0)


def test_a_segment_is_made_though_there_is_no_thread_to_free_it_later(
    segments: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of it is lost: it can be used again."""

    def no_thread(*_: object) -> Alarm:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(timekeeper, "call_at", no_thread)
    first = lend(segments, 2)
    first.end(reusable=True)
    assert lend(segments, 2).segment is first.segment


def test_a_segment_that_is_free_again_is_used_again(segments: SegmentPool) -> None:
    """Its memory is there already, which is most of what a segment costs."""
    first = lend(segments, 2, b"a")
    number = first.segment.number
    first.end(reusable=True)
    for byte in (b"b", b"c"):  # written as a file, then as a map
        second = lend(segments, 2, byte)
        assert second.segment.number == number
        assert content(second, 2) == byte * (2 * PAGE)
        second.end(reusable=True)
    assert segments.numbers() == (number,)


def test_a_loan_that_is_forgotten_is_over(segments: SegmentPool) -> None:
    """A task that was cancelled in the queue returns no loan itself."""
    number = lend(segments, 2).segment.number
    assert lend(segments, 2).segment.number == number


def test_what_a_worker_may_still_see_is_never_written_again(segments: SegmentPool) -> None:
    """A loan that was sent and not answered gives its segment up."""
    first = lend(segments, 2)
    number, first.sent = first.segment.number, True
    del first
    kept = lend(segments, 2)
    assert kept.segment.number != number
    kept.end(reusable=False)
    assert lend(segments, 2).segment.number not in (number, kept.segment.number)


def test_there_is_no_loan_beyond_the_bound(segments: SegmentPool) -> None:
    """What is free makes way, what is in use does not."""
    assert try_lend(segments, 17) is None
    free = lend(segments, 6)
    free.end(reusable=True)
    first = lend(segments, 1)
    second = lend(segments, 15)
    assert first.segment.number not in (free.segment.number, second.segment.number)
    assert segments.size == 16 * PAGE
    assert try_lend(segments, 1) is None
    first.end(reusable=True)
    assert try_lend(segments, 1) is not None


def test_there_are_only_so_many_segments() -> None:
    """Each takes descriptors, of which a process has not many."""
    segments = SegmentPool(1 << 30)
    loans = [lend(segments, 1) for _ in range(MAX_SEGMENTS)]
    assert try_lend(segments, 1) is None
    loans.pop()
    assert try_lend(segments, 1) is not None
    del loans
    segments.close()


def test_an_pool_of_nothing_leases_nothing() -> None:
    """``max_shared_memory=0`` means the socket, always."""
    segments = SegmentPool(0)
    assert try_lend(segments, 1) is None
    assert segments.result_segment(PAGE) is None
    assert segments.adopt(make_descriptor(), PAGE) is None


def test_what_is_exported_is_private_and_lasts(segments: SegmentPool) -> None:
    """The application may write to it, and no later task changes it."""
    first = lend(segments, 2)
    exported = segments.export(first.take(), 2 * PAGE)
    assert exported is not None
    second = lend(segments, 2, b"b")
    assert bytes(exported) == b"a" * (2 * PAGE)
    exported[0] = ord("c")
    assert content(first, 2) == b"a" * (2 * PAGE)
    part = exported[PAGE:]
    del exported
    assert lend(segments, 2, b"d").segment.number not in (
        first.segment.number,
        second.segment.number,
    )
    assert bytes(part) == b"a" * PAGE
    del part
    assert {lend(segments, 2).segment.number for _ in range(4)} <= set(segments.numbers())
    assert first.segment.number in segments.numbers()


def test_only_the_half_of_an_pool_is_exported(segments: SegmentPool) -> None:
    """An application that keeps its results must not leave tasks without room for arguments."""
    held = [segments.export(lend(segments, 4).take(), PAGE) for _ in range(2)]
    assert None not in held
    third = lend(segments, 4)
    assert segments.export(third.segment, PAGE) is None
    assert segments.adopt(make_descriptor(), PAGE) is None
    held.clear()
    assert segments.export(third.take(), PAGE) is not None


def test_a_fork_gives_up_what_is_exported(
    segments: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child may look at it as long as it lives, and the pool cannot learn how long that is."""
    first = lend(segments, 2)
    exported = segments.export(first.take(), PAGE)
    monkeypatch.setattr(segment_module, "_forks", segment_module.forks() + 1)
    del exported
    assert lend(segments, 2).segment.number != first.segment.number
    assert first.segment.number not in segments.numbers()


def test_a_segment_that_a_worker_made_becomes_one_of_the_arena(segments: SegmentPool) -> None:
    """It carries the arguments of a later call."""
    descriptor = make_descriptor()
    write_file(descriptor, [memoryview(b"r" * PAGE)], arrange([PAGE]))
    made = segments.adopt(descriptor, PAGE)
    assert made is not None
    exported = segments.export(made, PAGE)
    assert exported is not None
    assert bytes(exported) == b"r" * PAGE
    del exported
    assert lend(segments, 1).segment is made


def test_idle_segments_are_given_back_to_the_system(segments: SegmentPool) -> None:
    """Those that were not used between two looks, for which an alarm is set."""
    first = lend(segments, 2)
    used = first.segment.number
    first.end(reusable=True)
    segments.trim()
    assert segments.numbers() == (used,)
    segments.trim()
    assert segments.numbers() == ()
    assert os.fstat(first.segment.descriptor.number).st_size == 0


def test_there_is_one_alarm_at_most(segments: SegmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often memory is trimmed; and none once the segments is closed."""
    alarms: list[Alarm] = []

    def remember(at: float, callback: Callable[[], object]) -> Alarm:
        alarms.append(Alarm(at, callback, timekeeper))
        return alarms[-1]

    monkeypatch.setattr(timekeeper, "call_at", remember)
    held = lend(segments, 1)
    for _ in range(3):
        segments.trim()
    assert [alarm.callback is not None for alarm in alarms] == [False, False, False, True]
    held.end(reusable=True)
    segments.close()
    assert alarms[-1].callback is None


def test_an_alarm_trims_while_there_is_anything(
    segments: SegmentPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps neither a segment pool alive nor itself."""
    due: list[Any] = []
    monkeypatch.setattr(timekeeper, "_due", [])  # of pools of other tests, whose time may come
    monkeypatch.setattr(timekeeper, "call_at", lambda at, callback: due.append(callback))
    segments._alarm = None
    first = lend(segments, 1)
    first.end(reusable=True)
    while due and segments.numbers():
        due.pop()()
    assert segments.numbers() == ()
    assert due == []
    forgotten = SegmentPool(16 * PAGE)
    lend(forgotten, 1).end(reusable=True)
    del forgotten
    gc.collect()
    due.pop()()
    assert due == []


def test_a_closed_pool_frees_its_memory_and_takes_nothing_back(segments: SegmentPool) -> None:
    """What is exported remains the application's."""
    free, held = lend(segments, 2), lend(segments, 2)
    exported = segments.export(lend(segments, 2, b"s").take(), PAGE)
    free.end(reusable=True)
    segments.close()
    assert os.fstat(free.segment.descriptor.number).st_size == 0
    assert try_lend(segments, 1) is None
    held.end(reusable=True)
    assert (segments.numbers(), len(segments.returned)) == ((), 0)
    assert exported is not None
    assert bytes(exported) == b"s" * PAGE


def test_no_memory_means_no_loan(segments: SegmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call goes through the socket instead."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(segment_module, "write_file", refuse)
        assert try_lend(segments, 2) is None
    with monkeypatch.context() as patched:
        patched.setattr(segment_pool, "make_descriptor", refuse)
        assert try_lend(segments, 2) is None
    assert try_lend(segments, 2) is not None
    assert len(segments.numbers()) == 1


class SegmentPools(RuleBasedStateMachine):
    """Whatever is leased, exported, returned and forgotten, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.segments = SegmentPool(16 * PAGE)
        self.byte = 0
        self.loans: list[tuple[Loan, bytes]] = []
        self.exported: list[tuple[memoryview, bytes]] = []
        self.given_up: set[int] = set()

    @rule(length=st.integers(1, 9 * PAGE))
    def lend(self, length: int) -> None:
        self.byte = (self.byte + 1) % 251
        data = bytes([self.byte]) * length
        made = self.segments.lend([memoryview(data)], arrange([length]))
        if made is not None:
            assert made.segment.number not in self.given_up
            self.loans.append((made, data))

    @precondition(lambda self: self.loans)
    @rule(data=st.data(), reusable=st.booleans(), in_words=st.booleans())
    def end(self, data: st.DataObject, reusable: bool, in_words: bool) -> None:
        chosen, _ = self.loans.pop(data.draw(st.integers(0, len(self.loans) - 1)))
        if not reusable:
            self.given_up.add(chosen.segment.number)
        chosen.sent = not reusable
        if in_words:
            chosen.end(reusable=reusable)

    @precondition(lambda self: self.loans)
    @rule(data=st.data())
    def show(self, data: st.DataObject) -> None:
        chosen, expected = self.loans[index := data.draw(st.integers(0, len(self.loans) - 1))]
        exported = self.segments.export(chosen.segment, len(expected))
        if exported is not None:
            chosen.take()
            del self.loans[index]
            self.exported.append((exported, expected))

    @precondition(lambda self: self.exported)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        self.exported.pop(data.draw(st.integers(0, len(self.exported) - 1)))

    @rule()
    def trim(self) -> None:
        self.segments.trim()

    @invariant()
    def the_bound_is_kept(self) -> None:
        assert self.segments.size <= 16 * PAGE

    @invariant()
    def nobody_writes_where_another_reads(self) -> None:
        for loan, expected in self.loans:
            assert os.pread(loan.segment.descriptor.number, len(expected), 0) == expected
        for view, expected in self.exported:
            assert view == expected

    def teardown(self) -> None:
        self.loans.clear()
        self.exported.clear()
        self.segments.close()
        assert self.segments.numbers() == ()


TestSegmentPools = SegmentPools.TestCase
TestSegmentPools.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
