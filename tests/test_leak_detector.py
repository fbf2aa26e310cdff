"""The detector that every test runs under: it sees each kind of leak, and only leaks."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from flask import Flask

from flask_concurrency import Concurrency
from flask_concurrency.vocabulary.permit import Permit
from leak_detector import Leak, LeakDetector, child_processes

ROOT = Path(__file__).parents[1]

AT_ONCE = 0.05
"""Seconds; what is left in these tests ends only when they say so."""


@contextmanager
def held_permit() -> Iterator[None]:
    """Hold a permit to the end of the block."""
    with Permit(lambda ending: None):
        yield


@contextmanager
def running_thread() -> Iterator[None]:
    """Have a thread that runs to the end of the block."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name="left-running")
    thread.start()
    yield
    ended.set()
    thread.join()


@contextmanager
def running_process() -> Iterator[None]:
    """Have a child process that runs to the end of the block."""
    program = [sys.executable, "-S", "-c", "input()  # left-running"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
        yield
        process.kill()


@contextmanager
def ended_process() -> Iterator[None]:
    """Have a child process that ended, and that its parent asks about after the block."""
    with subprocess.Popen(["true"]) as process:
        yield
        process.wait()


@contextmanager
def pushed_in_a_thread() -> Iterator[None]:
    """Have a context pushed to the end of the block, which no variable of this thread shows."""
    pushed, ended = threading.Event(), threading.Event()

    def push() -> None:
        with Flask("elsewhere").app_context():
            pushed.set()
            ended.wait()

    thread = threading.Thread(target=push)
    thread.start()
    pushed.wait()
    yield
    ended.set()
    thread.join()


@contextmanager
def set_logger(name: str, what: str, value: object) -> Iterator[None]:
    """Have a logger set to something else, to the end of the block."""
    logger = logging.getLogger(name)
    before = getattr(logger, what)
    setattr(logger, what, value)
    yield
    setattr(logger, what, before)


@contextmanager
def logging_disabled() -> Iterator[None]:
    """Have no logger log, to the end of the block."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def left() -> Iterator[ExitStack]:
    """What is left behind by the block of a test, until its end."""
    with ExitStack() as left:
        yield left


LEAKS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "a held permit": held_permit,
    "a pushed context": lambda: Flask("leaky").app_context(),
    "a pushed context, of a request": lambda: Flask("leaky").test_request_context(),
    "a pushed context, in a thread": pushed_in_a_thread,
    "a thread: left-running": running_thread,
    "a process: .*left-running": running_process,
    "a process": ended_process,
    "a logger: flask_concurrency.store, filters": lambda: set_logger(
        "flask_concurrency.store", "filters", [bool]
    ),
    "a logger: flask_concurrency, handlers": lambda: set_logger(
        "flask_concurrency", "handlers", [logging.NullHandler()]
    ),
    "a logger: flask_concurrency, disabled": lambda: set_logger(
        "flask_concurrency", "disabled", True
    ),
    "a logger: root, level": lambda: set_logger("root", "level", logging.ERROR),
    "a logger: root, disabled": logging_disabled,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_what_is_left_is_found_and_named(
    leak: str, leak_detector: LeakDetector, left: ExitStack
) -> None:
    """Each kind fails its test; the message says what it is."""
    named = leak if "logger" in leak else leak.partition(",")[0]
    with pytest.raises(Leak, match=named), leak_detector.no_leaks(AT_ONCE):
        left.enter_context(LEAKS[leak]())


@pytest.mark.parametrize("leak", LEAKS)
def test_what_was_there_before_is_no_leak(leak: str, leak_detector: LeakDetector) -> None:
    """What fixtures of a module or of the session keep is theirs."""
    with LEAKS[leak](), leak_detector.no_leaks(AT_ONCE):
        pass


@pytest.mark.parametrize("leak", LEAKS)
def test_what_ended_is_no_leak(leak: str, leak_detector: LeakDetector) -> None:
    """Nothing is found where everything went home."""
    with leak_detector.no_leaks(AT_ONCE), LEAKS[leak]():
        pass


def test_all_that_is_left_is_named_at_once(leak_detector: LeakDetector, left: ExitStack) -> None:
    """One failure lists everything."""
    both = "left behind: a held permit: .*, a thread: left-running"
    leaks = iter([held_permit(), running_thread()])
    with pytest.raises(Leak, match=both), leak_detector.no_leaks(AT_ONCE):
        any(map(left.enter_context, leaks))


def test_a_logger_that_a_test_is_the_first_to_ask_for_is_no_leak(
    leak_detector: LeakDetector, left: ExitStack
) -> None:
    """It is as it was made; one that is set to something as well is not."""
    with leak_detector.no_leaks(AT_ONCE):
        logging.getLogger("flask_concurrency.first_asked_for")
    named = "a logger: flask_concurrency.set_at_once, level 0 -> 10"
    with pytest.raises(Leak, match=named), leak_detector.no_leaks(AT_ONCE):
        left.enter_context(set_logger("flask_concurrency.set_at_once", "level", logging.DEBUG))


def test_a_process_that_is_kept_for_later_tests_is_no_leak(
    leak_detector: LeakDetector, left: ExitStack
) -> None:
    """A server that the tests of a file share starts in the first that asks for it."""
    before = child_processes()
    with leak_detector.no_leaks(AT_ONCE):
        left.enter_context(running_process())
        (process,) = child_processes() - before
        leak_detector.kept.add(process)
    leak_detector.kept.remove(process)


LEAKS_SOCKETS = """
import gc, socket
import pytest

def leave_a_socket(error):
    cycle = [socket.socket()]
    cycle.append(cycle)
    raise error

def test_that_raises():
    leave_a_socket(ValueError("in the middle of something"))

def test_after_that():
    gc.collect()

def test_that_is_interrupted():
    leave_a_socket(pytest.fail.Exception("as by pytest-timeout"))

def test_after_this():
    gc.collect()
"""


@pytest.mark.slow
def test_what_a_failed_test_leaves_open_is_told_of_that_test(tmp_path: Path) -> None:
    """Its frames, with all they hold, end with it, and not in the middle of another test."""
    (tmp_path / "test_sockets.py").write_text(LEAKS_SOCKETS)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-Werror", "-ptests.conftest", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests/support")},
        capture_output=True,
        text=True,
        check=False,
    )
    told = sorted(re.findall(r"^(PASSED|FAILED|ERROR) .*::(\w+)", ended.stdout, re.MULTILINE))
    assert told == [
        *[("ERROR", "test_that_is_interrupted"), ("ERROR", "test_that_raises")],
        *[("FAILED", "test_that_is_interrupted"), ("FAILED", "test_that_raises")],
        *[("PASSED", "test_after_that"), ("PASSED", "test_after_this")],
    ]


def test_every_test_runs_under_it(request: pytest.FixtureRequest) -> None:
    """None has to ask for it."""
    without = [item.nodeid for item in request.session.items if not runs_under_it(item)]
    assert without == []


def runs_under_it(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "no_leaks" in item.fixturenames


def test_the_executors_of_a_tests_apps_end_with_it() -> None:
    """A test need not shut down what it used: the detector would find these threads."""
    app = Flask("busy")
    concurrency = Concurrency(app)
    assert concurrency.threads.submit(abs, -1).result(10) == 1
    assert concurrency.loop.run(asyncio.sleep(0, "done")) == "done"
