"""What is due at an instant is done then, once, unless it was cancelled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_concurrency.runtime.timer_thread import Timekeeper
from flask_concurrency.vocabulary.clock import monotonic

user: ContextVar[object] = ContextVar("user", default="nobody")


class Later:
    """Collects what is called, and waits for the last call."""

    def __init__(self) -> None:
        self.called: list[object] = []
        self._over = threading.Event()

    def note(self, what: object) -> Callable[[], None]:
        return lambda: self.called.append(what)

    def end(self) -> None:
        self._over.set()

    def wait(self) -> list[object]:
        assert self._over.wait(30)
        return self.called


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def keeper() -> Timekeeper:
    """One whose thread goes as soon as nothing is due."""
    return Timekeeper(idle=0.0)


def test_calls_are_made_in_the_order_of_their_instants(keeper: Timekeeper, later: Later) -> None:
    """Whatever the order they were asked for in; of the same instant, first come first served."""
    now, asked = monotonic(), threading.Event()
    keeper.call_at(now - 9, lambda: asked.wait(30))
    for at, name in [(-3, "c"), (-5, "a"), (-3, "d"), (-4, "b")]:
        keeper.call_at(now + at, later.note(name))
    keeper.call_at(now, later.end)
    asked.set()
    assert later.wait() == ["a", "b", "c", "d"]


def test_no_call_comes_before_its_instant(keeper: Timekeeper, later: Later) -> None:
    """A deadline is never cut short."""
    now = monotonic()
    early: list[float] = []

    def look(at: float) -> None:
        early.append(at - monotonic())

    for ms in range(1, 6):
        at = now + ms / 1_000
        keeper.call_at(at, partial(look, at))
    keeper.call_at(now + 0.006, later.end)
    later.wait()
    assert len(early) == 5
    assert max(early) <= 0.0


def test_what_is_due_already_is_done_soon(keeper: Timekeeper, later: Later) -> None:
    """On the timer's thread all the same: the caller may hold a lock that the call takes."""
    threads: list[str] = []
    keeper.call_at(monotonic() - 60, lambda: threads.append(threading.current_thread().name))
    keeper.call_at(monotonic(), later.end)
    later.wait()
    assert threads == ["concurrency-time"]


def test_an_earlier_alarm_does_not_wait_for_a_later_one(keeper: Timekeeper, later: Later) -> None:
    """The thread that waits for the one in an hour is woken."""
    distant = keeper.call_at(monotonic() + 3_600, later.note("never"))
    keeper.call_at(monotonic(), later.end)
    assert later.wait() == []
    distant.cancel()


def test_a_cancelled_call_is_not_made(keeper: Timekeeper, later: Later) -> None:
    """And is forgotten at once, with what it holds; cancelling again or afterwards is nothing."""

    class Upload:
        def close(self) -> None:
            later.called.append("closed")

    upload = Upload()
    ref = weakref.ref(upload)
    alarm = keeper.call_at(monotonic() + 3_600, upload.close)
    last = keeper.call_at(monotonic(), later.end)
    assert len(keeper) >= 1
    alarm.cancel()
    alarm.cancel()
    del upload
    assert ref() is None
    assert later.wait() == []
    last.cancel()
    assert len(keeper) == 0


def test_cancelled_alarms_do_not_pile_up(keeper: Timekeeper) -> None:
    """Ten thousand requests that ended in time leave next to nothing behind."""
    kept = keeper.call_at(monotonic() + 3_600, int)
    for _ in range(10_000):
        keeper.call_at(monotonic() + 7_200, int).cancel()
    assert len(keeper) == 1
    assert len(keeper._due) < 200
    kept.cancel()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=150))
def test_what_is_not_cancelled_is_called_in_order(entries: list[tuple[int, bool]]) -> None:
    """However many are, and wherever they stand among the others."""
    keeper, over = Timekeeper(idle=0.0), threading.Event()
    in_an_hour = monotonic() + 3_600
    called: list[tuple[int, int]] = []
    alarms = [
        keeper.call_at(in_an_hour + at, partial(called.append, (at, n)))
        for n, (at, _) in enumerate(entries)
    ]
    for alarm, (_, cancelled) in zip(alarms, entries, strict=True):
        if cancelled:
            alarm.cancel()
    keeper._clock = lambda: in_an_hour + 10
    keeper.call_at(in_an_hour + 10, over.set)
    keeper.call_at(in_an_hour - 1, int)  # the first of all: it wakes the thread
    assert over.wait(30)
    assert called == sorted((at, n) for n, (at, cancelled) in enumerate(entries) if not cancelled)


def test_a_call_that_fails_ends_nothing(
    keeper: Timekeeper, later: Later, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even by what would end a thread: it is logged, and the next call is made."""

    def leave() -> None:
        raise SystemExit

    now = monotonic()
    keeper.call_at(now, lambda: 1 / 0)
    keeper.call_at(now, leave)
    keeper.call_at(now, later.end)
    later.wait()
    assert [type((each.exc_info or (0, 0))[1]) for each in caplog.records] == [
        ZeroDivisionError,
        SystemExit,
    ]


def test_the_thread_is_there_only_while_something_is_due(keeper: Timekeeper, later: Later) -> None:
    """It ends when it is idle, and comes back."""
    for _ in range(2):
        threads: list[threading.Thread] = []
        keeper.call_at(monotonic(), lambda: threads.append(threading.current_thread()))  # noqa: B023
        keeper.call_at(monotonic(), later.end)
        later.wait()
        later._over.clear()
        threads[0].join(30)
        assert not threads[0].is_alive()


def test_pitfall_7_the_thread_inherits_no_context(keeper: Timekeeper, later: Later) -> None:
    """The request that first had a deadline is not kept for as long as there are others."""
    seen: list[object] = []

    def first() -> None:
        user.set("a request")
        keeper.call_at(monotonic(), lambda: seen.append(user.get()))

    copy_context().run(first)
    keeper.call_at(monotonic(), later.end)
    later.wait()
    assert seen == ["nobody"]


def test_a_thread_that_cannot_start_is_told_and_leaves_nothing(
    keeper: Timekeeper, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next alarm finds everything as it was."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        keeper.call_at(monotonic(), later.note("never"))
    monkeypatch.undo()
    assert len(keeper) == 0
    keeper.call_at(monotonic(), later.end)
    assert later.wait() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.slow
def test_pitfall_1_a_forked_child_keeps_time_of_its_own() -> None:
    """Its parent's alarms are not its own, and its own are called although no thread came along."""
    program = """
import os, threading, warnings
from flask_concurrency.runtime.timer_thread import timekeeper
from flask_concurrency.vocabulary.clock import monotonic
warnings.simplefilter("ignore", DeprecationWarning)
inherited = timekeeper.call_at(monotonic() + 3600, int)
child = os.fork()
if not child:
    inherited.cancel()
    over = threading.Event()
    assert len(timekeeper) == 0
    timekeeper.call_at(monotonic(), over.set)
    os._exit(7 if over.wait(30) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(len(timekeeper))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.stderr, ended.stdout) == ("", "1\n")
