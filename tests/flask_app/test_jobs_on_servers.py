"""Jobs on real servers: accepted, followed and cancelled in every way a server runs an app."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.stores.conftest import RedisServer

from flask_concurrency.jobs.ledger import Filter, Ledger, Outcome, WorkerInfo
from flask_concurrency.jobs.opening import open_ledger
from flask_concurrency.jobs.record import Progress

pytestmark = pytest.mark.slow

APP = "tests/apps/job_shop"
SERVERS = ["gunicorn-gthread", "gunicorn-gevent", "granian", "uvicorn", "granian-asgi"]
STREAMS = 1_000
Serve = Callable[..., str]


@pytest.fixture
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """Where the served app keeps its jobs, in a file by default; the test is their worker."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
        if getattr(request, "param", "sqlite") == "redis":
            url = stack.enter_context(RedisServer("--appendonly", "yes")).url
        monkeypatch.setenv("JOB_SHOP_LEDGER", url)
        ledger = open_ledger(url, app="job_shop", volatile=True)
        stack.callback(ledger.close)
        ledger.join(WorkerInfo("w1", "here", 1, ("build_report",), 1, 0.0))
        yield ledger


def claim(ledger: Ledger) -> str:
    """Begin the next job; its id."""
    (record,) = ledger.claim("w1", ["build_report"], 1)
    return record.id


def events(url: str) -> Iterator[dict[str, Any]]:
    """The events of a stream."""
    with requests.get(url, stream=True, timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


@pytest.mark.parametrize("server", SERVERS)
def test_a_job_is_accepted_followed_and_cancelled(
    serve: Serve, ledger: Ledger, server: str
) -> None:
    """Submit, long poll, events, result and cancel, with two processes of the server."""
    workers = 1 if "asgi" in server or server == "uvicorn" else 2
    url = serve(APP, server, workers=workers)
    key = {"Idempotency-Key": "once"}
    answers = [
        requests.post(f"{url}/reports", json={"year": 7}, headers=key, timeout=10) for _ in range(4)
    ]
    assert {answer.status_code for answer in answers} == {202}
    (path,) = {answer.headers["Location"] for answer in answers}
    address = url + path
    seen = events(f"{address}/events")
    assert next(seen)["status"] == "queued"
    id = claim(ledger)
    assert next(seen)["status"] == "running"
    ledger.report_progress(id, 1, Progress(0.5, "half"))
    assert next(seen)["progress"]["fraction"] == 0.5
    ledger.end(id, 1, Outcome("succeeded", result='{"value":{"rows":3}}'))
    assert [told["status"] for told in seen] == ["succeeded"]
    waited = requests.get(address, headers={"Prefer": "wait=5"}, timeout=10).json()
    assert waited["done"]
    assert requests.get(f"{address}/result", timeout=10).json() == {"rows": 3}
    second = requests.post(f"{url}/reports", json={"year": 8}, timeout=10).headers["Location"]
    assert requests.delete(url + second, timeout=10).status_code == 204
    assert [r.state.status for r in ledger.find(Filter())] == ["canceled", "succeeded"]


@pytest.mark.parametrize("ledger", ["sqlite", "redis"], indirect=True)
def test_many_streams_cost_no_thread_each(serve: Serve, ledger: Ledger) -> None:
    """15: a thousand streams on one loop; one end of the job ends all of them."""
    url = serve(APP, "uvicorn")
    address = requests.post(f"{url}/reports", json={"year": 7}, timeout=10).headers["Location"]
    id = claim(ledger)
    parts = urlsplit(url)
    with ExitStack() as open_streams:
        streams = []
        for _ in range(STREAMS):
            stream = open_streams.enter_context(
                socket.create_connection((parts.hostname, parts.port), timeout=20)
            )
            stream.sendall(
                f"GET {address}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
            )
            streams.append(stream)
        for stream in streams:
            told = b""
            while b'"running"' not in told:
                told += stream.recv(65_536)
        process = _listens(parts.port or 0)
        assert _threads(process) < 60
        assert requests.get(f"{url}/fast", timeout=10).text == "fast"
        ended_at = time.monotonic()
        ledger.end(id, 1, Outcome("succeeded", result='{"value":1}'))
        for stream in streams:
            told = b""
            while not told.endswith(b"0\r\n\r\n"):
                told += stream.recv(65_536)
            assert b'"succeeded"' in told
        print(f"{STREAMS} streams ended within {time.monotonic() - ended_at:.2f} s")


def _listens(port: int) -> int:
    """The process that listens on a port of loopback."""
    wanted = f"0100007F:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = {line[9] for line in lines if line[1] == wanted and line[3] == "0A"}
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(path.readlink()) == f"socket:[{inode}]":
                return int(path.parts[2])
        except OSError:
            continue
    pytest.fail(f"nothing listens on port {port}")


def _threads(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))
