"""Keep one worker for jobs running beside a server: start it again when it dies, end it at the end.

Knows how to start ``flask concurrency worker``; knows no job and no server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Final

from flask_concurrency.vocabulary.clock import monotonic

PAUSES: Final = (0.0, 1.0, 2.0, 5.0, 15.0)
"""Seconds before a worker that died is started again, ever longer while it does not last."""
LASTS: Final = 60.0
"""Seconds after which a worker counts as one that lasts."""
KILLED_AFTER: Final = 5.0
"""Seconds beyond its own time after which a worker that does not end is killed."""


class JobWorkerProcess:
    """A worker in a process of its own, for as long as this process runs.

    :param import_path: What ``flask --app`` is given; ``None`` leaves the app to Flask's search.
    :param drain_timeout: Seconds that running jobs get at the end.
    """

    def __init__(self, import_path: str | None, drain_timeout: float) -> None:
        chosen = [] if import_path is None else ["--app", import_path]
        self._command = [sys.executable, "-P", "-m", "flask", *chosen, "concurrency", "worker"]
        self._command += ["--drain-timeout", str(drain_timeout), "--parent", str(os.getpid())]
        self._drain_timeout = drain_timeout
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="job-worker", daemon=True)

    def start(self) -> None:
        """Start it, and from now on start it again whenever it dies."""
        self._thread.start()

    def end(self) -> None:
        """Tell it to end, and wait for that as long as its jobs may take."""
        self._ends.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(self._drain_timeout + KILLED_AFTER)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _keep(self) -> None:
        died = 0
        while not self._ends.wait(PAUSES[min(died, len(PAUSES) - 1)]):
            began_at = monotonic()
            with self._lock:
                if self._ends.is_set():
                    return
                process = self._process = subprocess.Popen(self._command)
            code = process.wait()
            if self._ends.is_set():
                return
            died = 1 if monotonic() - began_at >= LASTS else died + 1
            print(
                f"The worker for jobs ended with {code}; another one is started.", file=sys.stderr
            )
