"""Code that blocks an event loop is named in the log, with what to do instead."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
from flask import Flask

from asgi_exchange import ask
from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.executors.loop import LoopThread, watchdog
from flask_concurrency.executors.loop.watchdog import culprit

LOGGER = "flask_concurrency.watchdog"


class Told(logging.Handler):
    """What the watchdog logs, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.something = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self.something.set()


@pytest.fixture
def told() -> Iterator[Told]:
    """The watchdog's log."""
    handler = Told()
    logging.getLogger(LOGGER).addHandler(handler)
    yield handler
    logging.getLogger(LOGGER).removeHandler(handler)


def block_until(event: threading.Event) -> None:
    """Hold a thread up, as a database driver does."""
    assert event.wait(30)


@pytest.fixture
def watched() -> Iterator[LoopThread]:
    """A loop that may stand still for a moment only."""
    loop = LoopThread(blocked_for=lambda: 0.005)
    yield loop
    assert loop.shutdown()


def test_the_function_that_blocks_is_named(watched: LoopThread, told: Told) -> None:
    """Not the one of the standard library that it calls; once, however long it takes."""

    async def careless() -> None:
        block_until(told.something)
        time.sleep(0.02)

    watched.run(careless())
    assert "'block_until'" in told.messages[0]
    assert "concurrency.threads.run" in told.messages[0]
    assert "careless" in told.messages[0].partition("\n")[2]


def test_the_same_place_is_told_once(watched: LoopThread, told: Told) -> None:
    """The log does not repeat what it has already said."""
    again = threading.Event()

    async def careless(event: threading.Event) -> None:
        block_until(event)

    watched.run(careless(told.something))
    timer = threading.Timer(0.05, again.set)
    timer.start()
    watched.run(careless(again))
    timer.join()
    assert len([text for text in told.messages if "'block_until'" in text]) == 1


def test_a_loop_that_waits_is_not_blocked(watched: LoopThread, told: Told) -> None:
    """Coroutines may take as long as they like."""
    watched.run(asyncio.sleep(0.03))
    assert not told.messages


def test_who_runs_the_loop_is_never_to_blame() -> None:
    """They are on every stack."""
    frames = []

    async def look() -> None:
        frames.append(culprit(sys._getframe()))
        frames.append(culprit(sys._getframe().f_back or sys._getframe()))

    asyncio.run(look())
    mine, outside = frames
    assert mine is not None
    assert mine.f_code.co_name == "look"
    assert outside is None


def test_one_look_at_nobodys_fault_is_not_the_last(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is blocking now may have begun with something innocent, such as an import."""
    looks: list[FrameType] = []

    def nobody_at_first(innermost: FrameType) -> FrameType | None:
        looks.append(innermost)
        return culprit(innermost) if len(looks) > 2 else None

    monkeypatch.setattr(watchdog, "culprit", nobody_at_first)
    loop = LoopThread(blocked_for=lambda: 0.005)

    async def view() -> None:
        block_until(told.something)

    loop.run(view())
    assert "block_until" in told.messages[0].partition("\n")[0]
    assert loop.shutdown()


def test_a_hook_on_a_servers_loop_is_named(told: Told) -> None:
    """The hooks of an asynchronous view's request run where all others wait."""
    app = Flask("watched")
    app.config["CONCURRENCY_WATCHDOG"] = 0.005
    concurrency = Concurrency(app, store="memory://")
    asgi = concurrency.asgi_app(app)

    @app.before_request
    def load_user() -> None:
        assert told.something.wait(30)

    @app.get("/")
    async def view() -> str:
        return "late"

    async def story() -> str:
        return (await ask(asgi)).text

    assert asyncio.run(story()) == "late"
    assert "load_user" in told.messages[0].partition("\n")[0]
    concurrency.threads.shutdown()
    assert concurrency.loop.shutdown()


@pytest.mark.parametrize(
    ("set_up", "seconds"),
    [
        (lambda config: None, None),
        (lambda config: config.update(DEBUG=True), 0.25),
        (lambda config: config.update(DEBUG=True, CONCURRENCY_WATCHDOG=None), None),
        (lambda config: config.update(CONCURRENCY_WATCHDOG=2), 2.0),
    ],
)
def test_it_watches_in_debug_mode_and_where_it_is_told_to(
    set_up: Callable[[object], None], seconds: float | None
) -> None:
    """Off by default, since looking costs a little."""
    app = Flask("watched")
    set_up(app.config)
    Concurrency(app, store="memory://")
    assert app.extensions["concurrency"].settings.blocked_for(app.debug) == seconds


@pytest.mark.parametrize("value", [0, -1, "soon", True])
def test_no_time_at_all_is_refused(value: object) -> None:
    """With the key and the value."""
    app = Flask("watched")
    app.config["CONCURRENCY_WATCHDOG"] = value
    with pytest.raises(ConfigurationError, match="CONCURRENCY_WATCHDOG"):
        Concurrency(app)
