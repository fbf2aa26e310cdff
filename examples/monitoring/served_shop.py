"""Serve the shop on two workers, for its pictures and for what is measured of it.

Decides the port and where its counts are. Knows neither what is asked nor what for.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class ServedShop(NamedTuple):
    """A server that answers.

    :ivar port: Where, on 127.0.0.1.
    :ivar session: Of which all its processes are.
    """

    port: int
    session: int

    def connect(self) -> http.client.HTTPConnection:
        """A connection, which is not open yet."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def ask(self, path: str) -> tuple[int, bytes]:
        """What it answers; 0 for nothing."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()


@contextmanager
def served() -> Iterator[ServedShop]:
    """The shop until the end of the block, with counts of its own, on a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flask", "--app", "examples.monitoring.shop", "concurrency"]
    command += ["serve", "-w", "2", "-t", "16", "-p", str(port), "--log-level", "error"]
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "XDG_RUNTIME_DIR": directory},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        shop = ServedShop(port, process.pid)
        try:
            while shop.ask("/items/1")[0] != 200:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.1)
            yield shop
        finally:
            process.terminate()
            process.wait()
