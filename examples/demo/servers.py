"""Start the demo's servers, each granian in a process group of its own, and stop them all.

Knows how a server is started and stopped; which apps there are is decided by the caller.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60.0
STOP_TIMEOUT = 8.0
POLL = 0.05


class DemoError(Exception):
    """The demo cannot run; the message says why and what to do."""


class DemoStopped(Exception):
    """The demo was told to stop before all its servers were up."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server to run.

    :ivar app: What to serve, as ``module:name``.
    :ivar origin: Where it shall listen, such as ``http://127.0.0.1:8600``.
    :ivar ready_path: A path that answers 200 once the server works.
    :ivar jobs: Whether a worker for the app's jobs runs beside it.
    """

    app: str
    origin: str
    workers: int
    threads: int
    ready_path: str
    jobs: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.origin)
        return parts.hostname or "", parts.port or 80

    def command(self) -> list[str]:
        """How granian is called for it."""
        host, port = self.address
        if self.jobs:
            return [
                *(sys.executable, "-m", "flask", "--app", self.app, "concurrency", "serve"),
                *("--wsgi", "--host", host, "--port", str(port), "--graceful-timeout", "3"),
                *("--workers", str(self.workers), "--threads", str(self.threads)),
                *("--log-level", "error"),
            ]
        return [
            *(sys.executable, "-m", "granian", "--interface", "wsgi"),
            *("--host", host, "--port", str(port)),
            *("--workers", str(self.workers), "--blocking-threads", str(self.threads)),
            *("--workers-kill-timeout", "3", "--no-ws", "--log-level", "error"),
            self.app,
        ]


@contextlib.contextmanager
def running(
    servers: Sequence[Server], environment: dict[str, str], stopped: Event | None = None
) -> Iterator[RunningServers]:
    """Run ``servers`` until the block ends, however it ends.

    :param environment: Variables for the servers beside those of this process.
    :param stopped: Set to stop the servers while they still start.
    :raises DemoError: A port is taken, or a server does not come up.
    :raises DemoStopped: ``stopped`` was set before all of them were up.
    """
    stopped = Event() if stopped is None else stopped
    for server in servers:
        _check_port(server)
    started = RunningServers([])
    try:
        for server in servers:
            started.start(server, os.environ | environment)
        for server in servers:
            started.wait_for(server, stopped)
        yield started
    finally:
        started.stop()


class RunningServers:
    """The processes of the servers; made by :func:`running`."""

    def __init__(self, processes: list[tuple[Server, subprocess.Popen[bytes]]]) -> None:
        self._processes = processes

    def start(self, server: Server, environment: dict[str, str]) -> None:
        """Start one, out of reach of the terminal's Ctrl-C: the launcher stops all in order."""
        process = subprocess.Popen(
            server.command(),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if server.jobs else None,  # what the launcher says is enough
            start_new_session=True,
        )
        self._processes.append((server, process))

    def wait_for(self, server: Server, stopped: Event) -> None:
        """Wait until it answers.

        :raises DemoError: It ends or stays silent.
        :raises DemoStopped: ``stopped`` was set meanwhile.
        """
        give_up_at = time.monotonic() + START_TIMEOUT
        while not _answers(server):
            self.check()
            if time.monotonic() > give_up_at:
                raise DemoError(f"{server.app} did not answer within {START_TIMEOUT:g} s.")
            if stopped.wait(POLL):
                raise DemoStopped

    def check(self) -> None:
        """See whether all are still there.

        :raises DemoError: One has ended by itself.
        """
        for server, process in self._processes:
            if process.poll() is not None:
                raise DemoError(
                    f"The server of {server.app} ended with exit code {process.returncode}; "
                    "its message stands above."
                )

    def stop(self) -> None:
        """Ask all to stop, wait, and kill what is left of their process groups."""
        for _, process in self._processes:
            if process.poll() is None:
                process.terminate()
        give_up_at = time.monotonic() + STOP_TIMEOUT
        for _, process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, give_up_at - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _check_port(server: Server) -> None:
    host, port = server.address
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise DemoError(
                f"Port {port} cannot be used ({getattr(error, 'strerror', error)}): stop what "
                "uses it, or choose another with ./scripts/demo --port PORT."
            ) from None


def _answers(server: Server) -> bool:
    connection = HTTPConnection(*server.address, timeout=2)
    try:
        connection.request("GET", server.ready_path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
