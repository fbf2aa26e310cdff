"""One count for all workers of a host, on real servers, with no server to run."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import pytest

APP = "tests/apps/many_workers"
SERVERS = [("gunicorn-sync", 4), ("gunicorn-gthread", 4), ("granian", 2)]
Serve = Callable[..., str]

pytestmark = pytest.mark.slow


def get(url: str, path: str) -> tuple[int, Message, str]:
    host = urlsplit(url).netloc
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def free(url: str) -> int:
    """Permits that are free, as one more visitor sees it."""
    status, headers, _ = get(url, "/probe")
    return 0 if status != 200 else int(headers["RateLimit"].rpartition("r=")[2]) + 1


def eventually(told: Callable[[], object], expected: object, *, seconds: float = 30.0) -> None:
    give_up_at = time.monotonic() + seconds
    while (found := told()) != expected and time.monotonic() < give_up_at:
        time.sleep(0.02)  # a foreign process cannot notify us of its end
    assert found == expected


@pytest.mark.parametrize(("server", "workers"), SERVERS)
def test_pitfall_25_of_a_thousand_requests_all_workers_together_admit_a_hundred(
    serve: Serve, server: str, workers: int
) -> None:
    """Exactly, however many workers count."""
    url = serve(APP, server, workers=workers)
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda _: get(url, "/hundred")[0], range(1_000)))
    assert statuses == {200: 100, 429: 900}


@pytest.mark.parametrize(("server", "workers"), [("gunicorn-gthread", 4), ("granian", 2)])
def test_never_more_than_eight_are_inside_all_workers(
    serve: Serve, server: str, workers: int, tmp_path: Path
) -> None:
    """And the eight permits are free again when they have left."""
    url = serve(APP, server, workers=workers, threads=32)
    with ThreadPoolExecutor(24) as pool:
        visitors = [pool.submit(get, url, "/inside") for _ in range(24)]
        eventually(lambda: len(list(tmp_path.glob("inside-*"))), 8)
        (tmp_path / "leave").touch()
        statuses = Counter(visitor.result()[0] for visitor in visitors)
    assert statuses[200] + statuses[503] == 24
    assert statuses[200] >= 8
    eventually(lambda: free(url), 8)


def test_a_killed_worker_gives_its_permits_back_at_once(serve: Serve, tmp_path: Path) -> None:
    """SIGKILL leaves no time to tidy up, so the kernel does it."""
    url = serve(APP, "gunicorn-gthread", workers=4, threads=32)
    with ThreadPoolExecutor(8) as pool:
        visitors = [pool.submit(get, url, "/inside") for _ in range(8)]
        eventually(lambda: len(list(tmp_path.glob("inside-*"))), 8)
        assert free(url) == 0
        marks = [mark.name.split("-")[1] for mark in tmp_path.glob("inside-*")]
        victim, held = Counter(marks).most_common(1)[0]
        os.kill(int(victim), signal.SIGKILL)
        eventually(lambda: free(url), held)
        (tmp_path / "leave").touch()
        lost = sum(visitor.exception() is not None for visitor in visitors)
    assert lost == held
    eventually(lambda: free(url), 8)


@pytest.mark.parametrize(("server", "workers"), [("gunicorn-gthread", 2), ("granian", 2)])
def test_a_client_that_leaves_midway_gives_its_permit_back(
    serve: Serve, server: str, workers: int
) -> None:
    """A stream holds its permit while it is sent, and not a moment longer."""
    url = serve(APP, server, workers=workers, threads=32)
    clients = []
    for _ in range(3):
        parts = urlsplit(url)
        client = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        clients.append(client)
    eventually(lambda: free(url), 5)
    for client in clients:
        client.close()
    eventually(lambda: free(url), 8)
