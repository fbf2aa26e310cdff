"""Eight permits, six kinds of clients, and workers that are killed, stopped and replaced meanwhile.

There are never more than eight inside, by the kernel's word, and in the end all eight are free.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from presence import Presence

ROOT = Path(__file__).parents[2]
PLACES = 8
OF_EACH_KIND = 4
"""Clients: 24 in all, three for each permit."""
BETWEEN_FAULTS = 60
"""Visitors that come in before the next fault."""
STAYS_STOPPED = 2.0
PATIENCE = 25.0
ALL_IN_WITHIN = 3.0
ALL_AND_NO_MORE = [*[200] * PLACES, 503]
"""What nine who stay are answered, where eight may be inside."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="It counts by way of /proc."),
]

SERVERS = {
    "gunicorn": [
        *["gunicorn", "--no-control-socket", "--worker-class=gthread", "--workers=4"],
        *["--threads=16", "--log-level=critical", "--graceful-timeout=10"],
        *["--bind=127.0.0.1:{port}", "eight_places:app"],
    ],
    "granian": [
        *["flask", "--app", "eight_places", "concurrency", "serve", "--port={port}"],
        *["--workers=2", "--threads=16", "--graceful-timeout=10"],
    ],
}
CHAOS = {
    "gunicorn": ["kill", "stop", "replace", "kill"],
    # Of two kills the second has to wait: granian takes a worker's end within 6 s of its start for
    # that of an app that cannot start.
    "granian": ["kill", "stop", "replace"],
}
TALES: list[Callable[[Any], Awaitable[None]]] = []
"""What the kinds of clients do, again and again."""


class Crowd:
    """Clients of a server, until they are stopped.

    :ivar answers: How often each path was answered with each status.
    """

    def __init__(self, port: int) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self._port = port
        self._numbers = itertools.count()
        self._ends = asyncio.Event()

    async def come(self) -> None:
        """Be all clients at once."""
        async with asyncio.TaskGroup() as group:
            for tale in TALES * OF_EACH_KIND:
                group.create_task(self._repeat(tale))

    def leave(self) -> None:
        """Let each client end its tale, and come no more."""
        self._ends.set()

    async def _repeat(self, tale: Callable[[Any], Awaitable[None]]) -> None:
        while not self._ends.is_set():
            # A worker that is killed or stopped takes its connections along.
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await tale(self)
            await asyncio.sleep(0)

    def number(self) -> int:
        """Another one each time."""
        return next(self._numbers)

    @asynccontextmanager
    async def ask(
        self, path: str, *, head: str = "", sends: bytes = b"", times: int = 1
    ) -> AsyncIterator[asyncio.StreamReader]:
        """Send a request, and close the connection in the end, whatever is still to come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            method = "POST" if sends else "GET"
            one = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + sends
            writer.write(one * times)
            await writer.drain()
            yield reader
        finally:
            writer.transport.abort()

    async def status(self, path: str, reader: asyncio.StreamReader) -> int:
        """Read the head of an answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.answers[path.partition("?")[0], status] += 1
        return status


@TALES.append
async def reads_all(crowd: Crowd) -> None:
    paths = ("/plain", "/async", "/error", "/stream", "/stream?torn=1")
    path = paths[crowd.number() % len(paths)]
    async with crowd.ask(path, head="Connection: close\r\n") as reader:
        await crowd.status(path, reader)
        await reader.read()


@TALES.append
async def leaves_amid_the_answer(crowd: Crowd) -> None:
    async with crowd.ask("/stream?pieces=40&size=20000") as reader:
        await crowd.status("/stream", reader)
        await reader.read(1_000)


@TALES.append
async def leaves_before_the_answer(crowd: Crowd) -> None:
    async with crowd.ask("/plain"):
        await asyncio.sleep(0.01)


@TALES.append
async def leaves_amid_its_upload(crowd: Crowd) -> None:
    async with crowd.ask("/upload", head="Content-Length: 100000\r\n", sends=b"z" * 500):
        await asyncio.sleep(0.03)


@TALES.append
async def reads_slowly(crowd: Crowd) -> None:
    path = "/stream?pieces=20&size=65536"
    async with crowd.ask(path, head="Connection: close\r\n") as reader:
        await crowd.status(path, reader)
        for _ in range(5):
            await reader.read(4_000)
            await asyncio.sleep(0.05)


@TALES.append
async def asks_four_times_at_once(crowd: Crowd) -> None:
    async with crowd.ask("/plain", times=4) as reader:
        await crowd.status("/plain", reader)


@pytest.fixture
def presence(tmp_path: Path) -> Iterator[Presence]:
    with Presence(tmp_path / "presence", PLACES) as counting:
        yield counting


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, presence: Presence, tmp_path: Path
) -> Iterator[tuple[str, int, int]]:
    """Its name, its process and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [part.format(port=port) for part in SERVERS[request.param]]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT / "tests" / "apps",
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "PRESENCE": str(tmp_path / "presence"),
                "XDG_RUNTIME_DIR": str(tmp_path),
                "CONCURRENCY_SERVER_THREADS": "16",
            },
            start_new_session=True,
        )
    yield request.param, process.pid, port
    process.terminate()
    try:
        process.wait(PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def begin_chaos(name: str, server: int, presence: Presence) -> None:
    """Do one harm after the other, each to a worker that has visitors inside, amid their coming."""
    for harm in CHAOS[name]:
        presence.await_entries(BETWEEN_FAULTS, PATIENCE)
        if harm == "replace":
            os.kill(server, signal.SIGHUP)
            presence.await_ends(PATIENCE)
        elif harm == "stop":
            worker = presence.somebody(PATIENCE)
            os.kill(worker, signal.SIGSTOP)
            time.sleep(STAYS_STOPPED)
            os.kill(worker, signal.SIGCONT)
        else:
            os.kill(presence.somebody(PATIENCE), signal.SIGKILL)
            presence.await_stranger(PATIENCE)


async def fill_all_places(crowd: Crowd, presence: Presence) -> list[int]:
    """Have eight visitors come in and stay, and ask for a ninth permit meanwhile."""
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:

        async def visit() -> int:
            async with crowd.ask("/held", head="Connection: close\r\n") as reader:
                status = await crowd.status("/held", reader)
                if status != 200:
                    presence.let_go()
                return status

        visits = [group.create_task(visit()) for _ in range(PLACES)]
        if await asyncio.to_thread(presence.wait, lambda: presence.held == PLACES, ALL_IN_WITHIN):
            ninth = group.create_task(visit())
            visits.append(ninth)
            answered = lambda: ninth.done() or presence.held > PLACES  # noqa: E731
            await asyncio.to_thread(presence.wait, answered, PATIENCE)
        presence.let_go()
    return [visit.result() for visit in visits]


def test_no_harm_lets_a_ninth_in_or_loses_a_place(
    server: tuple[str, int, int], presence: Presence
) -> None:
    """Workers die, hang and are replaced, clients leave in every way: eight permits stay eight."""
    name, process, port = server
    crowd = Crowd(port)

    async def story() -> list[int]:
        coming = asyncio.create_task(crowd.come())
        try:
            await asyncio.to_thread(begin_chaos, name, process, presence)
        finally:
            crowd.leave()
            await coming
        assert await asyncio.to_thread(presence.wait, lambda: not presence.inside, PATIENCE)
        give_up_at = time.monotonic() + PATIENCE
        while True:  # answers to clients that have left, or read slowly, are still being sent
            told = await fill_all_places(crowd, presence)
            if told == ALL_AND_NO_MORE or presence.over or time.monotonic() > give_up_at:
                return told

    told = asyncio.run(story())
    assert presence.over == []
    assert told == ALL_AND_NO_MORE
    assert presence.most == PLACES
    answered = set(crowd.answers)
    assert {status for path, status in answered if path != "/error"} == {200, 503}
    assert {status for path, status in answered if path == "/error"} <= {500, 503}
