"""Process executors in views, under the servers that Flask applications run on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import process_watching as watching

pytestmark = pytest.mark.slow

HERE = Path(watching.__file__).parent
GUNICORN = ["gunicorn", "--no-control-socket", "--log-level=warning", "--workers=2"]
GRANIAN = ["granian", "--interface=wsgi", "--log-level=warning", "--workers=2"]
SERVERS = {
    "gunicorn-sync": [*GUNICORN, "--worker-class=sync"],
    "gunicorn-gthread": [*GUNICORN, "--worker-class=gthread", "--threads=4"],
    "gunicorn-preload": [*GUNICORN, "--worker-class=gthread", "--threads=4", "--preload"],
    "granian": [*GRANIAN, "--blocking-threads=4", "--workers-kill-timeout=5s"],
    "flask-run": ["flask", "run"],
}

Serve = Callable[[str], "tuple[subprocess.Popen[bytes], str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start the app on a server; it must stop on SIGTERM and leave no process behind."""
    servers: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "log"

    def start(name: str) -> tuple[subprocess.Popen[bytes], str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = {
            "gunicorn": [f"--bind=127.0.0.1:{port}", "process_app:app"],
            "granian": ["--host=127.0.0.1", f"--port={port}", "process_app:app"],
            "flask": ["--host=127.0.0.1", f"--port={port}"],
        }[SERVERS[name][0]]
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "FLASK_APP": "process_app", "PYTHONPATH": path}
        if name == "gunicorn-preload":
            environment["USE_POOL_AT_IMPORT"] = "1"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", *SERVERS[name], *address],
                cwd=HERE,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        servers.append(server)
        _wait_until_it_listens(server, port, log)
        return server, f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        family = watching.descendants(server.pid)
        server.terminate()
        try:
            server.wait(20)
        finally:
            server.kill()
        assert not watching.wait_until_gone(family, within=5.0), log.read_text()
    assert "Traceback" not in log.read_text()
    assert "Warning" not in log.read_text()


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + 30.0
    while server.poll() is None and time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)  # the server cannot notify us when it begins to listen
        else:
            return
    pytest.fail(f"{server.args!r} did not start:\n{log.read_text()}")


@pytest.mark.parametrize("name", SERVERS)
def test_pitfall_2_a_map_in_a_view_works_under(name: str, serve: Serve) -> None:
    """Many views at once, each process of the server with warm workers of its own."""
    _, url = serve(name)

    def ask(_: int) -> dict[str, object]:
        answer = requests.get(f"{url}/double", timeout=30)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(40)))
    workers_of: dict[object, set[object]] = {}
    for answer in answers:
        assert answer["results"] == [0, 2, 4, 6, 8]
        assert answer["listening"] == 0
        workers = answer["workers"]
        assert isinstance(workers, list)
        workers_of.setdefault(answer["owner"], set()).update(workers)
    for owner, workers in workers_of.items():
        assert 1 <= len(workers) <= 2
        assert owner not in workers
    assert len(set().union(*workers_of.values())) == sum(map(len, workers_of.values()))


@pytest.mark.parametrize("name", ["gunicorn-gthread", "granian"])
def test_a_crash_in_a_view_stays_there(name: str, serve: Serve) -> None:
    """That view gets the error, and those beside it are answered."""
    _, url = serve(name)
    paths = ["crash", "double"] * 10

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda path: requests.get(f"{url}/{path}", timeout=30), paths))
    for path, answer in zip(paths, answers, strict=True):
        assert answer.status_code == (500 if path == "crash" else 200), answer.text
        assert ("exit code 3" if path == "crash" else "[0,2,4,6,8]") in answer.text


@pytest.mark.parametrize("name", ["gunicorn-preload", "granian"])
def test_pitfall_17_a_killed_server_leaves_no_worker(name: str, serve: Serve) -> None:
    """SIGKILL of every process of the server itself, as the kernel does when memory is out."""
    server, url = serve(name)
    answers = [requests.get(f"{url}/double", timeout=30).json() for _ in range(6)]
    workers = set().union(*(answer["workers"] for answer in answers))
    family = watching.descendants(server.pid)
    assert workers <= family
    owners = {answer["owner"] for answer in answers}
    for pid in [server.pid, *owners]:
        os.kill(pid, 9)
    assert not watching.wait_until_gone(workers, within=1.0)
    server.wait(10)
    watching.wait_until_gone(family, within=5.0)
