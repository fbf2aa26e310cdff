"""Serve one of the two apps with four workers and count whom they let in, all together."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from tempfile import TemporaryDirectory

WORKERS = 4
PATIENCE = 2_000
"""Requests after which a worker that never answered is given up."""
BOOTS_WITHIN = 60
"""Seconds to wait for an answer: the first requests come before the workers are ready."""


def admitted_by_four_workers(app: str) -> int:
    """Send requests until every worker has refused one.

    :param app: ``"theirs"`` or ``"ours"``.
    :returns: The requests let in.
    """
    command = [sys.executable, "-m", "gunicorn", f"--workers={WORKERS}", "--bind=127.0.0.1:0"]
    command += ["--no-control-socket", f"examples.tutorial.measure.two_apps:{app}"]
    with TemporaryDirectory() as scratch:  # counts kept on disk begin at nothing
        environ = {**os.environ, "TMPDIR": scratch, "XDG_RUNTIME_DIR": scratch}
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)
        try:
            return _count(_port(server))
        finally:
            server.terminate()
            server.communicate()


def _port(server: subprocess.Popen[str]) -> int:
    assert server.stderr is not None
    for line in server.stderr:
        if "Listening at: http://" in line:
            return int(line.partition("http://")[2].split()[0].rpartition(":")[2])
    raise SystemExit("gunicorn did not start.")


def _count(port: int) -> int:
    admitted = 0
    refusing: set[str] = set()
    with ThreadPoolExecutor(WORKERS) as clients:
        for _ in range(PATIENCE // WORKERS):
            for status, worker in clients.map(_ask, [port] * WORKERS):
                if status == 200:
                    admitted += 1
                else:
                    refusing.add(worker)
            if len(refusing) == WORKERS:
                return admitted
    raise SystemExit(f"Only {len(refusing)} of {WORKERS} workers refused anybody.")


def _ask(port: int) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=BOOTS_WITHIN)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status, response.headers.get("X-Worker", "")
    finally:
        connection.close()
