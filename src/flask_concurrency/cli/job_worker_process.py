"""Keep one worker for jobs running beside a server: start it again when it dies, end it at the end.

That is the work of a small process of its own, run from this file alone. A thread of the server's
main process could not do it: while that process forks, the fork may inherit what a start of another
process waits on. Knows how to start ``flask concurrency worker``; knows no job and no server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

PAUSES = (0.0, 1.0, 2.0, 5.0, 15.0)
"""Seconds before a worker that died is started again, ever longer while it does not last."""
LASTS = 60.0
"""Seconds after which a worker counts as one that lasts."""
KILLED_AFTER = 5.0
"""Seconds beyond its own time after which a worker that does not end is killed."""
LOOK_EVERY = 0.25


class JobWorkerProcess:
    """The process that keeps a worker running, for as long as this process runs.

    :param import_path: What ``flask --app`` is given; ``None`` leaves the app to Flask's search.
    :param drain_timeout: Seconds that running jobs get at the end.
    """

    def __init__(self, import_path: str | None, drain_timeout: float) -> None:
        chosen = [] if import_path is None else ["--app", import_path]
        command = [sys.executable, "-P", "-m", "flask", *chosen, "concurrency", "worker"]
        command += ["--drain-timeout", str(drain_timeout)]
        told = json.dumps([command, drain_timeout + KILLED_AFTER, os.getpid()])
        self._command = [sys.executable, "-I", __file__, told]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(self._command)

    def renew(self) -> None:
        """Replace the worker by one that loads the app anew; the old one finishes its jobs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """Signal it to end, and wait for that as long as its jobs may take."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def keep(command: list[str], killed_after: float, parent: int) -> None:
    """Keep a worker running until a signal to end, or until the parent is gone."""
    told: list[int] = []
    renewals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, _: renewals.append(number))
    died, starts_at, began_at = 0, 0.0, 0.0
    worker: subprocess.Popen[bytes] | None = None
    retired: list[subprocess.Popen[bytes]] = []
    while not told and os.getppid() == parent:
        now = time.monotonic()
        retired = [each for each in retired if each.poll() is None]
        if renewals:
            renewals.clear()
            if worker is not None:
                worker.terminate()
                retired.append(worker)
            worker, died, starts_at = None, 0, now
        if worker is None and now >= starts_at:
            worker = subprocess.Popen([*command, "--parent", str(os.getpid())])
            began_at = now
        elif worker is not None and worker.poll() is not None:
            died = 1 if now - began_at >= LASTS else died + 1
            starts_at = now + PAUSES[min(died, len(PAUSES) - 1)]
            print(
                f"The worker for jobs ended with {worker.returncode}; another one is started.",
                file=sys.stderr,
                flush=True,
            )
            worker = None
        time.sleep(LOOK_EVERY)
    for each in [*retired, *([] if worker is None else [worker])]:
        each.terminate()
        try:
            each.wait(killed_after)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


if __name__ == "__main__":
    keep(*json.loads(sys.argv[1]))
