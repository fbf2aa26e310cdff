"""The servers we name, overloaded for a moment: every request is answered, some of them no."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from event_loops import until
from flask_concurrency.flask_app.http.arrivals import SOURCES
from flask_concurrency.runtime.tcp_info import TCP_INFO_WORKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TCP_INFO_WORKS, reason="the kernel tells no ages"),
]

SERVES_WITHIN = 30.0
Serve = Callable[..., str]
APP = "tests/apps/overloaded"
THREADED = {
    "gunicorn-sync": "socket",
    "gunicorn-gthread": "socket",
    "gunicorn-gevent": "socket",
    "waitress": "socket",
    "werkzeug": "socket",
    "granian": "connections",
}
ASYNCHRONOUS = {
    "uvicorn": "socket",
    "hypercorn": "sock_diag",
    "granian-asgi": "sock_diag",
    "gunicorn-asgi": "socket",
}
ALL = {**THREADED, **ASYNCHRONOUS}


class Load:
    """Requests that are sent evenly, each on a connection of its own.

    :ivar found: Answers by status; 0 counts one without an answer.
    """

    def __init__(self, url: str, path: str) -> None:
        self.found: Counter[int] = Counter()
        self._place = urlsplit(url)
        request = f"GET {path} HTTP/1.1\r\nHost: {self._place.netloc}\r\nConnection: close\r\n\r\n"
        self._request = request.encode()

    async def send(self, *, rate: float, seconds: float, served: int = 0) -> Counter[int]:
        """Send, and wait for all answers.

        :param served: Requests that are to be answered with 200: the load goes on until then, for a
            machine that does something else meanwhile serves fewer of them in a second.
        """
        give_up_at = time.monotonic() + SERVES_WITHIN
        tasks: list[asyncio.Task[None]] = []
        while len(tasks) < rate * seconds or (
            self.found[200] < served and time.monotonic() < give_up_at
        ):
            tasks.append(asyncio.create_task(self._ask()))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*tasks)
        return self.found

    async def until_answered(self, number: int) -> None:
        """Wait until so many more were answered."""
        enough = self.found.total() + number
        await until(lambda: self.found.total() >= enough)

    async def _ask(self) -> None:
        status = 0
        with suppress(OSError, IndexError, TimeoutError):
            async with asyncio.timeout(15):
                reader, writer = await asyncio.open_connection(
                    self._place.hostname, self._place.port
                )
                try:
                    writer.write(self._request)
                    line = await reader.readline()
                    await reader.read()
                    status = int(line.split()[1])
                finally:
                    writer.close()
        self.found[status] += 1


def statuses(url: str, path: str, *, rate: float, seconds: float, served: int = 0) -> Counter[int]:
    """Send requests; parameters as of :meth:`Load.send`."""
    return asyncio.run(Load(url, path).send(rate=rate, seconds=seconds, served=served))


def state_of(url: str) -> dict[str, Any]:
    """What the limit has done."""
    state: dict[str, Any] = requests.get(f"{url}/state", timeout=20).json()
    return state


def both_states_of(url: str) -> dict[int, dict[str, Any]]:
    """What the limits of two workers have done, one of which may still be starting."""
    states: dict[int, dict[str, Any]] = {}
    give_up_at = time.monotonic() + 30
    while len(states) < 2 and time.monotonic() < give_up_at:
        state = state_of(url)
        states[state["process"]] = state
    assert len(states) == 2
    return states


@pytest.mark.parametrize("server", ALL)
def test_an_overloaded_server_answers_all(serve: Serve, server: str) -> None:
    """Three times what it can do for two seconds, and until twenty were served: no request is left
    without an answer, none fails, the others are refused; afterwards nothing is inside."""
    path = "/work" if server in THREADED else "/work-on-loop"
    url = serve(APP, server, threads=2)
    found = statuses(url, path, rate=300.0, seconds=2.0, served=20)
    assert set(found) == {200, 503}, found
    assert found[200] >= 20
    state = state_of(url)
    assert state["source"] == SOURCES[ALL[server]]  # type: ignore[index]
    assert state["too_old"] + state["too_many"] == found[503]
    assert state["in_flight"] == 1  # the one that asks
    assert state["hung"] == 0
    assert requests.get(url + path, timeout=20).status_code == 200


@pytest.mark.parametrize("server", ["gunicorn-gthread", "waitress", "granian"])
def test_a_client_that_left_is_not_served(serve: Serve, server: str) -> None:
    """It waited for a thread, and gave up: the app never sees its request."""
    url = serve(APP, server, threads=1)
    place = urlsplit(url)
    assert requests.get(f"{url}/state", timeout=20).status_code == 200  # it is up

    def send(path: str) -> socket.socket:
        client = socket.create_connection((place.hostname, place.port), 20)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        return client

    with send("/hold") as held:
        # There is one thread, and it is held: what is sent now waits in the order it came.
        send("/note/left").close()
        with send("/note/stayed") as stayed:
            for client in (held, stayed):
                client.settimeout(30)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
    seen = state_of(url)["seen"]
    assert "stayed" in seen
    if server != "granian":  # which reads a connection's end by itself
        assert "left" not in seen


@pytest.mark.parametrize("server", ["gunicorn-gthread", "granian"])
def test_several_workers_count_each_by_itself(serve: Serve, server: str) -> None:
    """Each has its own interpreter, and its own limit."""
    url = serve(APP, server, workers=2, threads=2)
    found = statuses(url, "/work", rate=500.0, seconds=2.0)
    assert set(found) == {200, 503}, found
    states = both_states_of(url)
    refused = [state["too_old"] + state["too_many"] for state in states.values()]
    assert sum(refused) == found[503]
    assert all(refused)


@pytest.mark.parametrize("server", ["gunicorn-gthread", "granian", "uvicorn"])
def test_health_checks_are_answered_by_a_busy_server(serve: Serve, server: str) -> None:
    """While it refuses most of what comes."""
    path = "/work" if server in THREADED else "/work-on-loop"
    url = serve(APP, server, threads=2)

    async def both() -> list[Any]:
        load = asyncio.to_thread(statuses, url, path, rate=300.0, seconds=2.0)
        checks = [asyncio.to_thread(requests.get, f"{url}/livez", timeout=20) for _ in range(10)]
        return await asyncio.gather(load, *checks)

    _, *checks = asyncio.run(both())
    assert [check.status_code for check in checks] == [200] * 10


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_stops_under_load_takes_no_place_along(
    serve: Serve, how: signal.Signals
) -> None:
    """Only what it was serving is lost; the others go on, and a new one begins with nothing."""
    url = serve(APP, "gunicorn-gthread", workers=2, threads=2)
    victim = int(state_of(url)["process"])

    async def both() -> Counter[int]:
        load = Load(url, "/work")
        # Three times what both workers can do.
        sending = asyncio.create_task(load.send(rate=600.0, seconds=2.0, served=20))
        await load.until_answered(400)
        os.kill(victim, how)
        if how == signal.SIGSTOP:
            await load.until_answered(200)
            os.kill(victim, signal.SIGCONT)
        return await sending

    found = asyncio.run(both())
    assert set(found) <= {0, 200, 503}
    assert found[200] >= 20
    assert found[0] <= (60 if how == signal.SIGKILL else 0)
    states = both_states_of(url)
    assert (victim in states) == (how == signal.SIGSTOP)
    assert {(state["in_flight"], state["hung"]) for state in states.values()} == {(1, 0)}
