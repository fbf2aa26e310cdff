"""A future whose lock no exception of a signal handler leaves held."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import FrameType
from typing import Any

import pytest

from flask_concurrency.executors.processes.records import ProcessFuture
from flask_concurrency.executors.signal_safe_future import SignalSafeFuture, make_condition
from flask_concurrency.executors.waiting import TaskFuture
from flask_concurrency.runtime.timer_thread import Timekeeper

PATIENCE = 10.0


class Struck(BaseException):
    """What a signal handler raises."""


@pytest.fixture
def strike() -> Iterator[Callable[[], None]]:
    """Raise at the end of whichever function takes a condition's lock."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename == threading.__file__ and frame.f_code.co_name == "__enter__":
            if event == "return":
                raise Struck
            return trace
        return None

    yield lambda: sys.settrace(trace)
    sys.settrace(None)


def is_free(take: Callable[[], object]) -> bool:
    """Whether another thread can take a lock and give it back."""
    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    taker.join(PATIENCE)
    return not taker.is_alive()


@pytest.mark.parametrize("kind", [ProcessFuture, TaskFuture])
@pytest.mark.parametrize("ask", [Future.done, Future.running, Future.cancel])
def test_a_signal_leaves_no_future_locked(
    kind: Callable[[], Future[Any]],
    ask: Callable[[Future[Any]], object],
    strike: Callable[[], None],
) -> None:
    """The thread that completes a future goes on, wherever its asker was interrupted."""
    future = kind()
    strike()
    try:
        ask(future)
    except Struck:
        pass
    finally:
        sys.settrace(None)
    assert is_free(lambda: future.add_done_callback(print))


def test_a_signal_leaves_the_timekeeper_free(strike: Callable[[], None]) -> None:
    """Deadlines of all other requests are kept."""
    timekeeper = Timekeeper(idle=0.0)
    strike()
    try:
        timekeeper.call_after(3600.0, print).cancel()
    except Struck:
        pass
    finally:
        sys.settrace(None)
    assert is_free(lambda: len(timekeeper))


def test_it_has_what_a_future_of_the_standard_library_has() -> None:
    """It sets the attributes itself; a Python version that has others shows here."""
    ours, theirs = vars(SignalSafeFuture()), vars(Future())
    assert {name: type(value) for name, value in ours.items() if name != "_condition"} == {
        name: type(value) for name, value in theirs.items() if name != "_condition"
    }
    assert "_condition" in ours


def test_it_is_a_condition() -> None:
    """A thread that waits is notified, and has the lock again."""
    condition = make_condition()
    with condition:
        assert not condition.wait(0.0)

        def notify() -> None:
            with condition:
                condition.notify_all()

        other = threading.Thread(target=notify)
        other.start()
        assert condition.wait(PATIENCE)
    other.join()


def test_wait_of_the_standard_library_takes_it() -> None:
    """Futures with such a condition are waited for like any other."""
    future: Future[int] = ProcessFuture()
    assert not wait([future], timeout=0.0).done
    other = threading.Thread(target=future.set_result, args=(1,))
    other.start()
    assert wait([future], timeout=PATIENCE).done == {future}
    other.join()
