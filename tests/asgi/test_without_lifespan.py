"""Where no lifespan comes, accepted work is finished when a signal ends the server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from asgi_exchange import Exchange, ask
from asgi_lifespan import lifespan
from event_loops import until_idle
from flask_concurrency import Concurrency
from flask_concurrency.asgi.application import AsgiBridge


@pytest.fixture
def app() -> Flask:
    """An app that is served, as far as it knows."""
    return Flask("served")


@pytest.fixture
def concurrency(app: Flask) -> Iterator[Concurrency]:
    """Its extension."""
    concurrency = Concurrency(app, store="memory://")
    yield concurrency
    concurrency.threads.shutdown()
    app.extensions["concurrency"].executors.bodies.shutdown()
    concurrency.loop.shutdown()


@pytest.fixture
def asgi(app: Flask, concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch) -> AsgiBridge:
    """The app's ASGI application, for which SIGINT alone ends a server."""
    monkeypatch.setattr("flask_concurrency.runtime.drain.SIGNALS", (signal.SIGINT,))
    return concurrency.asgi_app(app)


@pytest.fixture
def ended() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Put a server's handler of SIGINT in place."""
    before = signal.getsignal(signal.SIGINT)

    def put(end: Callable[[], None]) -> None:
        signal.signal(signal.SIGINT, lambda number, frame: end())

    yield put
    signal.signal(signal.SIGINT, before)


def test_the_server_hears_of_the_signal_once_work_is_done(
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiBridge,
    ended: Callable[[Callable[[], None]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests in flight are answered, spawned work is finished, then clients are closed."""
    events: list[str] = []
    go_on = threading.Event()

    @concurrency.loop.at_end
    async def close() -> None:
        events.append("closed")

    async def mail() -> None:
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 30)
        events.append("mail")

    def send_mail() -> None:
        assert go_on.wait(30)
        events.append("spawned")

    @app.get("/order")
    async def order() -> str:
        concurrency.loop.spawn(mail())
        concurrency.threads.spawn(send_mail)
        return "ordered"

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 30)
        events.append("slow")
        return "slow"

    async def story() -> None:
        over = asyncio.Event()

        def end() -> None:
            events.append("ended")
            over.set()

        ended(end)
        assert (await ask(asgi, "/order")).text == "ordered"
        in_flight = Exchange(asgi, "/slow")
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = await ask(asgi, "/order")
        assert (late.status, "about to end" in late.text) == (503, True)
        assert late.get("Retry-After") is not None
        go_on.set()
        await in_flight.task
        assert in_flight.answer.text == "slow"
        await asyncio.wait_for(over.wait(), 30)

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert events[-2:] == ["closed", "ended"]
    assert sorted(events[:-2]) == ["mail", "slow", "spawned"]
    assert len([r for r in caplog.records if "async with asgi.lifespan()" in r.getMessage()]) == 1


@pytest.mark.parametrize("by_loop", [False, True])
def test_a_second_signal_does_not_wait(
    app: Flask,
    asgi: AsgiBridge,
    ended: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    by_loop: bool,
) -> None:
    """It ends the server as before, unless it is the first one that came twice."""
    events: list[str] = []
    go_on = threading.Event()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 30)
        return ""

    async def story() -> None:
        if by_loop:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, events.append, "ended")
        else:
            ended(lambda: events.append("ended"))
        in_flight = Exchange(asgi, "/slow")
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        await until_idle()
        assert events == []
        monkeypatch.setattr("flask_concurrency.runtime.drain.SAME_WITHIN", 0.0)
        signal.raise_signal(signal.SIGINT)
        while not events:
            await asyncio.sleep(0)
        assert events == ["ended"]
        go_on.set()
        await in_flight.task

    asyncio.run(story())


def test_a_mounted_application_may_begin_and_end_with_another_one(
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiBridge,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``async with asgi.lifespan()`` is all it takes."""
    events: list[str] = []

    @concurrency.loop.at_end
    async def close() -> None:
        events.append("closed")

    app.add_url_rule("/", "index", lambda: "index")

    async def story() -> None:
        async with asgi.lifespan():
            assert (await ask(asgi, "/")).text == "index"
            assert events == []
        assert events == ["closed"]

    asyncio.run(story())
    assert caplog.records == []


def test_an_application_under_test_watches_no_signals(
    app: Flask, asgi: AsgiBridge, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one whose server sends a lifespan say anything."""
    app.add_url_rule("/", "index", lambda: "index")
    before = signal.getsignal(signal.SIGINT)
    app.testing = True
    assert asyncio.run(ask(asgi, "/")).text == "index"
    assert signal.getsignal(signal.SIGINT) is before
    app.testing = False

    async def story() -> None:
        async with lifespan(asgi):
            await ask(asgi, "/")

    asyncio.run(story())
    assert caplog.records == []


SERVED = """
    import asyncio, os, time
    from flask import Flask
    from flask_concurrency import Concurrency

    app = Flask("served")
    concurrency = Concurrency(app, store="memory://")

    def note(what):
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(what + "\\n")

    def mail():
        time.sleep(0.5)
        note("threads")

    async def mail_on_loop():
        await asyncio.sleep(0.5)
        note("loop")

    @concurrency.loop.at_end
    async def close():
        note("closed")

    @app.get("/")
    async def order():
        concurrency.threads.spawn(mail)
        concurrency.loop.spawn(mail_on_loop())
        return "ordered"

    inner = concurrency.asgi_app(app)

    async def asgi(scope, receive, send):
        assert scope["type"] == "http"
        await inner(scope, receive, send)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "server",
    [
        "uvicorn --lifespan off --port {port} served:asgi",
        "granian --interface asgi --port {port} served:asgi",
        "gunicorn --worker-class asgi --bind 127.0.0.1:{port} served:asgi",
    ],
    ids=lambda server: server.partition(" ")[0],
)
def test_servers_finish_accepted_work_without_a_lifespan(server: str, tmp_path: Path) -> None:
    """Through an application in front that passes requests only."""
    (tmp_path / "served.py").write_text(textwrap.dedent(SERVED))
    notes = tmp_path / "notes"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program, *options = server.format(port=port).split()
    process = subprocess.Popen(
        [Path(sys.executable).with_name(program), *options],
        cwd=tmp_path,
        env={**os.environ, "NOTES": str(notes), "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up_at = time.monotonic() + 40
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    assert answer.read() == b"ordered"
                break
            except OSError:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
    assert sorted(notes.read_text().split()[:2]) == ["loop", "threads"]
    assert notes.read_text().split()[2:] == ["closed"]
