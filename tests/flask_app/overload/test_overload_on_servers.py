"""The servers we name, overloaded for a moment: every request is answered, some of them no."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from flask_concurrency.flask_app.http.arrivals import SOURCES
from flask_concurrency.runtime.tcp_info import TCP_INFO_WORKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TCP_INFO_WORKS, reason="the kernel tells no ages"),
]

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


def statuses(url: str, path: str, *, rate: float, seconds: float) -> Counter[int]:
    """Send requests evenly, each on a connection of its own; 0 counts one without an answer."""
    place = urlsplit(url)
    asked = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n".encode()

    async def ask() -> int:
        try:
            async with asyncio.timeout(15):
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
                try:
                    writer.write(asked)
                    line = await reader.readline()
                    await reader.read()
                    return int(line.split()[1])
                finally:
                    writer.close()
        except (OSError, IndexError, TimeoutError):
            return 0

    async def ask_all() -> Counter[int]:
        tasks = []
        for _ in range(round(rate * seconds)):
            tasks.append(asyncio.create_task(ask()))
            await asyncio.sleep(1 / rate)
        return Counter(await asyncio.gather(*tasks))

    return asyncio.run(ask_all())


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
    """Three times what it can do for two seconds: no request is left without an answer,
    none fails, some are served and the others refused; afterwards nothing is inside."""
    path = "/work" if server in THREADED else "/work-on-loop"
    url = serve(APP, server, threads=2)
    found = statuses(url, path, rate=300.0, seconds=2.0)
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
        load = asyncio.create_task(asyncio.to_thread(load_of, url))
        await asyncio.sleep(0.7)
        os.kill(victim, how)
        if how == signal.SIGSTOP:
            await asyncio.sleep(0.7)
            os.kill(victim, signal.SIGCONT)
        return await load

    found = asyncio.run(both())
    assert set(found) <= {0, 200, 503}
    assert found[200] >= 20
    assert found[0] <= (60 if how == signal.SIGKILL else 0)
    states = both_states_of(url)
    assert (victim in states) == (how == signal.SIGSTOP)
    assert {(state["in_flight"], state["hung"]) for state in states.values()} == {(1, 0)}


def load_of(url: str) -> Counter[int]:
    """Three times what both workers can do."""
    return statuses(url, "/work", rate=600.0, seconds=2.0)
