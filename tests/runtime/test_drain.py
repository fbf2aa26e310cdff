"""Work without an end of its own is notified that the server is about to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from flask_concurrency.runtime.drain import Drain, watch_signals


def test_everybody_is_told_once() -> None:
    """A listener that was unregistered is not called; a later one is called at once."""
    drain, told = Drain(), []
    drain.call(lambda: told.append("first"))
    drain.forget(drain.call(lambda: told.append("forgotten")))
    assert not drain.begun
    drain.begin()
    drain.begin()
    drain.call(lambda: told.append("late"))
    assert drain.begun
    assert told == ["first", "late"]


def test_who_comes_while_it_begins_is_told_once() -> None:
    """Both sides look for the callback; only one finds it."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(200):
            told: list[int] = []
            drain, together = Drain(), threading.Barrier(2)
            coming = pool.submit(_come, drain, together, partial(told.append, 1))
            together.wait(30)
            drain.begin()
            coming.result(30)
            assert told == [1]


def _come(drain: Drain, together: threading.Barrier, callback: Callable[[], object]) -> None:
    together.wait(30)
    drain.call(callback)


SCRIPT = """
import os, signal, sys
from flask_concurrency.runtime.drain import Drain, watch_signals
if sys.argv[1] == "handled":
    signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
drain = Drain()
drain.call(lambda: print("draining", flush=True))
assert watch_signals() and watch_signals()
os.kill(os.getpid(), signal.SIGTERM)
print("lives", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handler", "said", "code"),
    [("handled", "draining\nhandled\nlives\n", 0), ("default", "draining\n", -signal.SIGTERM)],
)
def test_a_signal_begins_the_drain_and_does_what_it_did(handler: str, said: str, code: int) -> None:
    """The server's own handler runs as before; without one the process ends as before."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, handler], capture_output=True, text=True, timeout=50
    )
    assert (ended.stdout, ended.returncode) == (said, code), ended.stderr


def test_a_signal_that_is_ignored_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of Ctrl-C in a shell script's background: the server goes on, and so do its streams."""
    monkeypatch.setattr("flask_concurrency.runtime.drain.SIGNALS", (signal.SIGINT,))
    told: list[str] = []
    drain = Drain()
    drain.call(lambda: told.append("draining"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert watch_signals()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not told


def test_only_the_main_thread_can_watch_signals(handled: list[int]) -> None:
    """Elsewhere it says so, and changes nothing."""
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(watch_signals).result(30) is False
        assert signal.getsignal(signal.SIGINT) is before
        assert watch_signals()
        assert pool.submit(watch_signals).result(30) is True


def test_a_handler_that_was_put_in_place_is_watched_as_well(handled: list[int]) -> None:
    """Servers install theirs when they start, which may be after the first stream."""
    told: list[str] = []
    drain = Drain()
    drain.call(lambda: told.append("draining"))
    assert watch_signals()
    assert watch_signals()
    signal.raise_signal(signal.SIGINT)
    assert (told, handled) == (["draining"], [signal.SIGINT])


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that a server gets, whose handler has replaced ours."""
    assert watch_signals()
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGINT, before)
