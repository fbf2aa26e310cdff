"""Decide how workers are started where there is no ``fork``: each as a fresh interpreter.

Slower (every worker imports the application by itself) and without a guardian process: a worker
watches its standard input, which its owner holds open, and a thread here waits for each worker.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import Final

from flask_concurrency.executors.processes.launch.interpreter import start_interpreter
from flask_concurrency.executors.processes.launch.launcher import LaunchConfig, Notice, WorkerExited
from flask_concurrency.executors.processes.wire import EXITED, Channel
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import WorkerStartFailed

_MAIN: Final = "flask_concurrency.executors.processes.launch.spawn"


class SpawnLauncher:
    """Worker processes that are children of this one.

    :param config: What each worker does before its first task.
    """

    def __init__(self, config: LaunchConfig) -> None:
        self._config = config
        self._label = config.label
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self._news = Channel(theirs)
        self._lock = threading.Lock()
        self._running: dict[int, tuple[subprocess.Popen[bytes], threading.Thread]] = {}

    def launch(self, worker: int, end: socket.socket) -> None:
        """Start an interpreter and give it its end of the socket pair."""
        config = self._config.config()
        label = f"worker of {self._label}"
        if os.name == "posix":
            config["end"] = end.fileno()
            fds = [config[key] for key in ("end", "log", "tracker") if config[key] is not None]
            process = start_interpreter(_MAIN, config, label=label, fds=fds)
        else:
            process = start_interpreter(_MAIN, config, label=label)
            _share(process, end)
        waiter = threading.Thread(
            target=self._wait_for,
            args=(worker, process),
            name=f"{self._label}-worker-{worker}",
            daemon=True,
        )
        with self._lock:
            self._running[worker] = process, waiter
            try:
                waiter.start()
            except RuntimeError as error:
                del self._running[worker]
                _end(process)
                raise WorkerStartFailed(f"No thread can watch over a worker: {error}.") from error

    def kill(self, worker: int) -> None:
        """End a worker. ``Popen`` knows whether it was waited for, so no other process is hit."""
        with self._lock:
            running = self._running.get(worker)
        if running is not None:
            _kill(running[0])

    def notices(self) -> list[Notice]:
        """Read what has happened, once ``channel`` is readable."""
        found: list[Notice] = []
        while self.channel.readable():
            frame = self.channel.receive()
            if frame is None:
                break
            found.append(WorkerExited(frame[1], int(frame[2])))
        return found

    def stop(self, grace: float) -> None:
        """Let the workers end, then kill those left."""
        deadline = monotonic() + grace
        with self._lock:
            running = list(self._running.values())
        for process, waiter in running:
            waiter.join(max(0.0, deadline - monotonic()))
            if waiter.is_alive():
                _kill(process)
                waiter.join()
        self.channel.close()
        self._news.close()
        self._config.close()

    def abandon(self) -> None:
        """Drop this process's copies, in a forked child."""
        self.channel.drop()
        self._news.drop()
        self._config.close()
        for process, _ in self._running.values():
            process.returncode = 0  # not this process's to wait for, nor to warn of
            if process.stdin is not None:
                process.stdin.close()

    def _wait_for(self, worker: int, process: subprocess.Popen[bytes]) -> None:
        if hasattr(os, "waitid"):
            # What its tasks left behind, as long as no other process can have its number.
            with suppress(OSError):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                os.killpg(process.pid, signal.SIGKILL)
        exitcode = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        with self._lock:
            with suppress(OSError):  # the executor was shut down
                self._news.send(EXITED, worker, str(exitcode).encode())
            del self._running[worker]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker, and where there are process groups, what its task has started."""
    if os.name == "posix" and process.poll() is None:
        with suppress(OSError):  # its task has left the group
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _share(process: subprocess.Popen[bytes], end: socket.socket) -> None:
    """Hand a socket over where descriptors are not inherited (Windows)."""
    assert process.stdin is not None
    try:
        shared: bytes = getattr(end, "share")(process.pid)  # noqa: B009 # absent elsewhere
        process.stdin.write(shared.hex().encode() + b"\n")
        process.stdin.flush()
    except OSError as error:
        _end(process)
        raise WorkerStartFailed(f"A worker process ended while it started: {error}.") from error
