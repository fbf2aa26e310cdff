"""Decide how workers are started where there is ``fork``: by a process made for being forked.

The owner is no such process: it has threads, and a copy of a lock that another thread holds stays
locked for ever. The forkserver has one thread and, with the application preloaded, a worker is
ready in milliseconds and shares its memory.

Not the standard library's forkserver, for four reasons that its public interface leaves open. It
is one for the whole process, with one list of modules. After an ``os.fork`` the child takes the
parent's for its own. It imports the owner's ``__main__``, which under a server is the server's
script. And nothing ends the workers of an owner that was killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from typing import Final

from flask_concurrency.executors.processes.launch.interpreter import start_interpreter
from flask_concurrency.executors.processes.launch.launcher import (
    LaunchConfig,
    LauncherEnded,
    Notice,
    WorkerExited,
)
from flask_concurrency.executors.processes.wire import (
    EXITED,
    KILL,
    LAUNCH,
    LAUNCHER_FAILED,
    LAUNCHER_UNFIT,
    QUIT,
    Channel,
)
from flask_concurrency.vocabulary.clock import monotonic

_MAIN: Final = "flask_concurrency.executors.processes.launch.forkserver"
_TIMEOUT: Final = 2.0  # seconds beyond the grace until the forkserver itself is killed


class ForkserverLauncher:
    """One forkserver process, which is started here, and the workers it forks.

    :param config: What it does before the first fork.
    :raises WorkerStartFailed: It cannot be started.
    """

    def __init__(self, config: LaunchConfig) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        try:
            given = {"control": theirs.fileno(), "owner": os.getpid(), **config.config()}
            self._process = start_interpreter(
                _MAIN,
                given,
                label=f"forkserver of {config.label}",
                fds=[given[key] for key in ("control", "log", "tracker") if given[key] is not None],
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
            config.close()
        _close_stdin(self._process)
        self._failure, self._unfit = "", False

    def launch(self, worker: int, end: socket.socket) -> None:
        """Ask for a worker; a failure comes as the end of its socket and a notice."""
        self.channel.send_end(LAUNCH, worker, end)

    def kill(self, worker: int) -> None:
        """Have the forkserver, the worker's parent, end it: so no other process is hit."""
        with suppress(OSError):  # if the forkserver is gone, its workers are with it
            self.channel.send(KILL, worker)

    def notices(self) -> list[Notice]:
        """Read what has happened, once ``channel`` is readable."""
        found: list[Notice] = []
        while self.channel.readable():
            try:
                frame = self.channel.receive()
            except (OSError, EOFError):
                frame = None
            if frame is None:
                reason = self._failure or self._describe_end()
                found.append(LauncherEnded(reason, self._unfit))
                break
            kind, number, payload = frame
            if kind == EXITED:
                found.append(WorkerExited(number, int(payload)))
            elif kind in (LAUNCHER_FAILED, LAUNCHER_UNFIT):
                self._failure, self._unfit = payload.decode(), kind == LAUNCHER_UNFIT
        return found

    def stop(self, grace: float) -> None:
        """Let the workers end, kill those left, and wait for the forkserver."""
        deadline = monotonic() + grace + _TIMEOUT
        try:
            self.channel.send(QUIT, int(grace * 1000))
            # Its end of the control socket closes when it has ended and its workers before it.
            while self.channel.readable(max(0.0, deadline - monotonic())):
                if self.channel.receive() is None:
                    break
        except (OSError, EOFError):
            pass  # it is gone already
        self.channel.close()
        self._reap()

    def abandon(self) -> None:
        """Drop this process's copies, in a forked child."""
        self.channel.drop()
        # Else Popen would warn that a process still runs which is not this one's to wait for.
        self._process.returncode = 0

    def _reap(self) -> int:
        try:
            return self._process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _describe_end(self) -> str:
        return (
            f"its forkserver process {self._process.pid} ended with exit code {self._reap()}. If "
            "this happens at every start, look at its output on standard error, and name a Python "
            "interpreter with multiprocessing.set_executable() if sys.executable is not one"
        )


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
