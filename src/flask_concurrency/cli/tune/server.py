"""Start an app on its real server, and end it. Judges nothing of what it does."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple, NoReturn

from flask_concurrency.flask_app.settings import UNLIMITED
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ConfigurationError

STARTS_WITHIN = 60.0
"""Seconds that an app may take to start."""


STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a process at once, unless it says otherwise."""


class Server(NamedTuple):
    """A server that answers.

    :ivar port: Where, on this machine alone.
    :ivar session: Of which all its processes are.
    """

    port: int
    session: int


@contextmanager
def served(
    target: str | None, *, threads: int, workers: int = 1, asgi: bool | None = None
) -> Iterator[Server]:
    """Serve an app without its limits, for the length of a block; SIGTERM ends it as Ctrl-C does.

    :param target: What ``flask --app`` was given; ``None`` for what Flask finds.
    :param threads: Of each process.
    :param workers: Processes.
    :param asgi: Whether on ASGI; ``None`` for what fits the app.
    :raises ConfigurationError: It does not start; with the end of what it said.
    """
    port = _free_port()
    command = [sys.executable, "-m", "flask", *(["--app", target] if target else [])]
    command += ["concurrency", "serve", "-w", str(workers), "-t", str(threads), "-p", str(port)]
    command += ["--log-level", "error", "--no-jobs"]
    if asgi is not None:
        command.append("--asgi" if asgi else "--wsgi")
    with _stops_raised(), tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, UNLIMITED: "1"},
            start_new_session=True,
        )
        try:
            give_up_at = monotonic() + STARTS_WITHIN
            while not _answers(port):
                if process.poll() is not None or monotonic() > give_up_at:
                    said.seek(0)
                    end = "\n".join(said.read().decode(errors="replace").splitlines()[-12:])
                    raise ConfigurationError(f"The app does not start under load:\n{end}")
                time.sleep(0.1)  # a server gives no sign when it listens
            yield Server(port, process.pid)
        finally:
            _end(process)


@contextmanager
def _stops_raised() -> Iterator[None]:
    """Have a signal that would end this process raise: the server is in a session of its own."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    ours = [number for number in STOPS if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):  # whatever of it is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("HEAD", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
