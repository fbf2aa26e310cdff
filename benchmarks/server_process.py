"""Start a web server as a process of its own, with one worker, on a port of loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

Server = Literal["uvicorn", "granian", "gunicorn"]

STARTS_WITHIN = 30.0
THREADS = 8
"""Threads of a worker on WSGI."""


class Running(NamedTuple):
    """A server that answers.

    :ivar port: Where, on 127.0.0.1.
    :ivar pid: Its process, or that of its only worker's parent.
    """

    port: int
    pid: int


@contextmanager
def serving(server: Server, app: str) -> Iterator[Running]:
    """Serve an app of :mod:`benchmarks.served` until the end of the block.

    :param app: The name of the function that builds it; on gunicorn a WSGI app.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", server, *_arguments(server, app, port)])
    try:
        ask(f"http://127.0.0.1:{port}/", process)
        yield Running(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STARTS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _arguments(server: Server, app: str, port: int) -> list[str]:
    target = f"benchmarks.served:{app}"
    if server == "uvicorn":
        quiet = ["--no-access-log", "--log-level=warning", "--timeout-graceful-shutdown=1"]
        return ["--factory", target, f"--port={port}", "--backlog=8192", *quiet]
    if server == "granian":
        return ["--interface=asgi", "--factory", target, f"--port={port}", "--log-level=warning"]
    quiet = ["--no-control-socket", "--log-level=warning"]
    workers = ["--worker-class=gthread", f"--threads={THREADS}"]
    return [f"--bind=127.0.0.1:{port}", *workers, *quiet, f"{target}()"]


def ask(url: str, process: subprocess.Popen[bytes]) -> None:
    """Read a page, as soon as the server that ``process`` is answers.

    :raises OSError: It has ended, or does not answer within :data:`STARTS_WITHIN`.
    """
    give_up_at = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                answer.read()
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
