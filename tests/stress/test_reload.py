"""With ``flask run --reload`` the executors end with the old code, and begin anew with the new."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

PATIENCE = 45.0
APP = """
import os
from flask import Flask
from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app)

def tell():
    return ["old code", os.getpid()]

@app.get("/")
def index():
    code, worker = concurrency.processes.submit(tell).result()
    return {"code": code, "worker": worker, "thread": concurrency.threads.submit(tell).result()[0]}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The app on Flask's own server, which looks at its file."""
    (tmp_path / "reloaded.py").write_text(APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flask", "--app", "reloaded", "run", "--reload"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"--port={port}"],
            cwd=tmp_path,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield f"http://127.0.0.1:{port}/"
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    server.wait(PATIENCE)


def eventually(tell: Callable[[], Any], expected: object) -> Any:
    """Ask until the answer is as expected: a foreign process cannot notify us."""
    give_up_at = time.monotonic() + PATIENCE
    while (told := tell()) != expected and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert told == expected
    return told


def test_a_reload_ends_the_old_workers_and_runs_the_new_code(url: str, tmp_path: Path) -> None:
    """Tasks on threads and processes are those of the file as it is now."""
    answer: dict[str, Any] = {}

    def codes() -> set[str]:
        with suppress(requests.ConnectionError):  # not up yet, or reloading
            answer.update(requests.get(url, timeout=PATIENCE).json())
        return {answer.get("code", ""), answer.get("thread", "")}

    eventually(codes, {"old code"})
    old_worker = answer["worker"]

    (tmp_path / "reloaded.py").write_text(APP.replace("old code", "the new code"))

    eventually(codes, {"the new code"})
    assert answer["worker"] != old_worker
    eventually(lambda: Path(f"/proc/{old_worker}").exists(), False)
