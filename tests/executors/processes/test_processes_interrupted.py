"""An exception that strikes the calling thread anywhere: nothing and no later task is lost.

Ctrl-C, the handler of a signal that raises, a server's time limit: each may come between any two
lines of the executor's code. Here one comes at every one of them, in turn.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from types import FrameType
from typing import Any

import pytest

import flask_concurrency.executors.processes as package
import process_tasks as tasks
from flask_concurrency.executors.processes import ProcessExecutor, watch

PoolOf = Callable[..., ProcessExecutor]
HERE = os.path.dirname(package.__file__) + os.sep
PATIENCE = 30.0
VISITS = 3
"""How often one line is struck: those of a loop over all loggers come hundreds of times."""


class Struck(BaseException):
    """What a signal handler raises."""


class Striker:
    """Raises at the ``at``-th line or function entry that the calling thread comes to.

    :ivar count: How many it has come to; of one line, the first :data:`VISITS`.
    """

    def __init__(self, event: str, at: int) -> None:
        self.event = event
        self.at = at
        self.count = 0
        self.where = "nowhere"
        self._visits: Counter[tuple[str, int]] = Counter()

    def __enter__(self) -> Striker:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        if event == self.event and not self._is_end_of_with(frame) and not self._is_known(frame):
            self.count += 1
            if self.count == self.at:
                self.where = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                raise Struck
        return self._trace

    def _is_end_of_with(self, frame: FrameType) -> bool:
        # The interpreter runs no signal handler between the body of a ``with`` and the release of
        # its lock (bpo-29988); only a tracer sees a line there.
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        return self.event == "line" and line.lstrip().startswith(("with ", "finally"))

    def _is_known(self, frame: FrameType) -> bool:
        line = frame.f_code.co_filename, frame.f_lineno
        self._visits[line] += 1
        return self.event == "line" and self._visits[line] > VISITS


def submit_and_wait(executor: ProcessExecutor, strike: Striker) -> Future[Any] | None:
    """Be struck in ``result()``."""
    future = executor.submit(tasks.double, 4)
    with strike:
        future.result(PATIENCE)
    return future


def submit(executor: ProcessExecutor, strike: Striker) -> Future[Any] | None:
    """Be struck in ``submit()``."""
    with strike:
        return executor.submit(tasks.double, 4)


def cancel_running(executor: ProcessExecutor, strike: Striker) -> Future[Any] | None:
    """Be struck in ``cancel()`` of a task that never ends by itself."""
    future = executor.submit(tasks.nap, 3600)
    with strike:
        future.cancel()
    return future


def consume_map(executor: ProcessExecutor, strike: Striker) -> Future[Any] | None:
    """Be struck in ``map()`` or where its results are taken."""
    with strike:
        assert list(executor.map(tasks.double, range(3))) == [0, 2, 4]
    return None


# Struck between two lines, a socket that no variable names yet is closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:.*unclosed.*:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.slow
@pytest.mark.timeout(300)  # hundreds of workers are killed and started
@pytest.mark.parametrize(
    ("operation", "event"),
    [
        (submit_and_wait, "call"),
        (submit_and_wait, "line"),
        (submit, "call"),
        (submit, "line"),
        (cancel_running, "call"),
        (cancel_running, "line"),
        (consume_map, "call"),  # line by line it would take minutes, in the same functions
    ],
)
def test_a_strike_anywhere_loses_nothing(
    pool_of: PoolOf,
    monkeypatch: pytest.MonkeyPatch,
    operation: Callable[[ProcessExecutor, Striker], Future[Any] | None],
    event: str,
) -> None:
    """The future is done, the next task runs, and ``shutdown()`` returns."""
    # Long enough for the calling thread to read its own replies, though a tracer makes it slow.
    monkeypatch.setattr(watch, "DELAY", 0.05)
    executor = pool_of(1)
    executor.submit(tasks.double, 1).result(PATIENCE)
    at, struck = 1, True
    while struck:
        strike = Striker(event, at)
        made: list[Future[Any]] = []
        original = executor.submit

        def remember(*args: Any, _original: Any = original, _made: Any = made) -> Any:
            future = _original(*args)
            _made.append(future)
            return future

        try:
            executor.submit = remember  # type: ignore[method-assign, assignment]
            operation(executor, strike)
            struck = False
        except Struck:
            pass
        finally:
            executor.submit = original  # type: ignore[method-assign]
        for future in made:
            if operation is cancel_running and not future.cancelled():
                assert future.cancel(), strike.where  # struck before it was cancelled
            try:
                assert future.result(PATIENCE) == 8, strike.where
            except CancelledError:
                assert operation is cancel_running, strike.where
            except TimeoutError:
                pytest.fail(f"the future is never done: struck in {strike.where}")
        try:
            assert executor.submit(tasks.double, 2).result(PATIENCE) == 4, strike.where
        except TimeoutError:
            pytest.fail(f"the next task is never done: struck in {strike.where}")
        at += 1
    assert at > 10
    ended = threading.Thread(target=executor.shutdown, daemon=True)
    ended.start()
    ended.join(PATIENCE)
    assert not ended.is_alive(), "shutdown() does not return"
