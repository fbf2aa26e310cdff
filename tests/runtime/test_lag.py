"""Lag: how late a loop or the interpreter is, measured while requests come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from flask_concurrency.runtime.lag import AHEAD, EVERY, STALE, InterpreterLag, LoopLag
from flask_concurrency.runtime.timer_thread import Timekeeper


class Alarms(Timekeeper):
    """Calls that are made by hand."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.set: list[tuple[float, Callable[[], object]]] = []

    def call_at(self, at: float, callback: Callable[[], object]) -> None:  # type: ignore[override]
        """Note it."""
        self.set.append((at, callback))


class Now:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_the_interpreter_is_as_late_as_a_call_it_makes() -> None:
    """A call that was due and is made later says by how much."""
    alarms, now = Alarms(), Now()
    lag = InterpreterLag(alarms, now)
    assert lag(now.at) == 0.0
    ((due_at, measure),) = alarms.set
    assert due_at == now.at + AHEAD
    now.at = due_at + 0.2
    assert lag(now.at) == pytest.approx(0.2)  # it is late already
    now.at = due_at + 0.25
    measure()
    assert lag(now.at) == pytest.approx(0.25)
    assert len(alarms.set) == 1


def test_it_is_measured_now_and_then_and_forgotten() -> None:
    """However many requests come; and without requests nothing is measured."""
    alarms, now = Alarms(), Now()
    lag = InterpreterLag(alarms, now)
    for _ in range(200):
        now.at += 0.001
        lag(now.at)
        if alarms.set and now.at >= alarms.set[-1][0]:
            alarms.set[-1][1]()
    assert 1 <= len(alarms.set) <= 1 + 0.2 / EVERY
    now.at += 100.0
    assert lag(now.at) == 0.0


def test_without_a_thread_there_is_no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can start none is asked again later, and nothing fails."""
    alarms, now = Alarms(), Now()

    def refuse(at: float, callback: Callable[[], object]) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(alarms, "call_at", refuse)
    lag = InterpreterLag(alarms, now)
    assert lag(now.at) == 0.0
    assert lag(now.at) == 0.0


def test_a_loop_is_as_late_as_its_next_turn() -> None:
    """A call that waits while another one runs says how long that took."""
    now = Now()
    lag = LoopLag(now)

    async def ask() -> list[float]:
        found = [lag(now.at)]
        now.at += 0.3  # what a request computes
        await asyncio.sleep(0)
        found.append(lag(now.at))
        now.at += STALE + 0.1
        await asyncio.sleep(0)
        now.at += STALE + 0.1
        found.append(lag(now.at))
        await asyncio.sleep(0)
        return found

    assert asyncio.run(ask()) == [0.0, pytest.approx(0.3), 0.0]
