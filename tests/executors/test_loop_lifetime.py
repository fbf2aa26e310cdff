"""What lives as long as a loop is opened before anything runs on it, and closed at its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest
from flask import Flask

from asgi_exchange import ask
from asgi_lifespan import lifespan
from flask_concurrency import Concurrency
from flask_concurrency.executors.loop import LoopThread, lifetime


@pytest.fixture
def events() -> list[str]:
    """What happened, in its order."""
    return []


@pytest.fixture
def loop(events: list[str]) -> Iterator[LoopThread]:
    """A loop on which two clients are opened and closed."""
    loop = LoopThread()

    @loop.at_start
    async def open_first() -> None:
        await asyncio.sleep(0)
        events.append("first opened")

    @loop.at_start
    async def open_second() -> None:
        events.append("second opened")

    @loop.at_end
    async def close_first() -> None:
        await asyncio.sleep(0)
        events.append("first closed")

    @loop.at_end
    async def close_second() -> None:
        events.append("second closed")

    yield loop
    assert loop.shutdown()


async def note(events: list[str], what: str) -> None:
    events.append(what)


def test_clients_are_open_before_the_first_call_and_closed_after_the_last(
    loop: LoopThread, events: list[str]
) -> None:
    """The last opened is closed first, and what was spawned ends before."""
    go_on = threading.Event()

    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 30)
        events.append("worked")

    loop.run(note(events, "called"))
    loop.spawn(work())
    go_on.set()
    assert loop.shutdown(drain=30)
    assert events == [
        "first opened",
        "second opened",
        "called",
        "worked",
        "second closed",
        "first closed",
    ]


def test_what_is_given_late_is_called_at_once(loop: LoopThread, events: list[str]) -> None:
    """On the loop that runs already, and on each one that follows."""
    loop.run(note(events, "called"))
    opened = threading.Event()

    @loop.at_start
    async def late() -> None:
        opened.set()

    assert opened.wait(30)


def test_what_fails_or_has_no_end_keeps_nothing_else_open(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged by its name; calls go on."""
    monkeypatch.setattr(lifetime, "CLOSES_WITHIN", 0.01)
    loop, closed = LoopThread(), threading.Event()

    @loop.at_start
    async def fails() -> None:
        raise OSError("no database")

    @loop.at_end
    async def closes() -> None:
        closed.set()

    @loop.at_end
    async def raises() -> None:
        raise OSError("gone")

    assert loop.run(asyncio.sleep(0, 7)) == 7
    assert loop.shutdown()
    assert closed.is_set()
    assert "fails' failed at the loop's start" in caplog.text
    assert "raises' failed at the loop's end" in caplog.text

    loop = LoopThread()

    @loop.at_end
    async def hangs() -> None:
        await asyncio.sleep(1_000)

    loop.run(asyncio.sleep(0))
    assert loop.shutdown()
    assert "hangs' did not end within 0.01 s at the loop's end" in caplog.text


def test_only_async_functions_are_taken() -> None:
    """The mistake is reported where it is made."""
    loop = LoopThread()
    for method in (loop.at_start, loop.at_end):
        with pytest.raises(TypeError, match="give an async function without parameters"):
            method(lambda: None)  # type: ignore[type-var]


def test_a_servers_loop_is_opened_and_closed_by_its_lifespan(events: list[str]) -> None:
    """The end comes after what threads have taken, which may use the clients."""
    app = Flask("lifetime")
    app.testing = True
    concurrency = Concurrency(app)

    @concurrency.loop.at_start
    async def opens() -> None:
        events.append("opened")

    @concurrency.loop.at_end
    async def closes() -> None:
        events.append("closed")

    @app.get("/")
    async def view() -> str:
        concurrency.threads.spawn(events.append, "spawned")
        events.append("asked")
        return ""

    asgi = concurrency.asgi_app(app)

    async def story() -> None:
        async with lifespan(asgi):
            await ask(asgi, "/")

    asyncio.run(story())
    assert (events[0], events[-1]) == ("opened", "closed")
    assert sorted(events) == ["asked", "closed", "opened", "spawned"]


SCRIPT = """
    import asyncio, threading
    from flask_concurrency.executors.loop import LoopThread

    loop, closed = LoopThread(), threading.Event()

    @loop.at_start
    async def connect():
        threading.Thread(target=closed.wait, daemon=False).start()  # as aiosqlite does
        print("connected", flush=True)

    @loop.at_end
    async def disconnect():
        closed.set()
        print("closed", flush=True)

    loop.run(asyncio.sleep(0))
"""


@pytest.mark.slow
def test_a_client_with_a_thread_of_its_own_lets_the_process_end() -> None:
    """The interpreter waits for such threads; the clients are closed before."""
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, timeout=50
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("connected\nclosed\n", "", 0)
