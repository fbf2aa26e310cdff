"""Decide what a pool may ask of the launcher that starts and ends its workers. Starts none."""

from __future__ import annotations

import socket
import sys
from multiprocessing import resource_tracker
from typing import Any, NamedTuple, Protocol

from flask_concurrency.executors.processes.main_script import find_main
from flask_concurrency.executors.processes.wire import Channel


class LaunchConfig(NamedTuple):
    """What all workers of a launcher begin with.

    :ivar preload: Modules to import before the first task.
    :ivar task_context: Pickled function that says what to put around each task.
    :ivar log: Where workers send what they log; the launcher's to close.
    :ivar label: The executor's name, for the output of ``ps``.
    """

    preload: tuple[str, ...]
    task_context: bytes | None
    log: socket.socket | None
    label: str

    def config(self) -> dict[str, Any]:
        """Write it as JSON can, for another process; see ``preload.py``."""
        return {
            "preload": list(self.preload),
            "tracker": tracker_fd(),
            "task_context": None if self.task_context is None else self.task_context.hex(),
            "log": None if self.log is None else self.log.fileno(),
            "main": find_main(),
        }

    def close(self) -> None:
        """Close this process's copy of the socket."""
        if self.log is not None:
            self.log.close()


def tracker_fd() -> int | None:
    """Return the descriptor of this process's resource tracker, if it uses shared memory by name.

    With the same tracker, a ``SharedMemory`` that a worker has attached to or made outlives the
    worker, as with the standard library's.
    """
    if "multiprocessing.shared_memory" not in sys.modules:
        return None
    return resource_tracker.getfd()


class WorkerExited(NamedTuple):
    """A worker process has ended; a negative ``exitcode`` is the number of a signal."""

    worker: int
    exitcode: int


class LauncherEnded(NamedTuple):
    """No more workers come from this launcher, and those it started have ended or soon will.

    :ivar unfit: It must not be forked: workers are to be started otherwise.
    """

    reason: str
    unfit: bool = False


Notice = WorkerExited | LauncherEnded


class Launcher(Protocol):
    """Starts worker processes, reports their ends, and lets none outlive its owner.

    :ivar channel: Readable when there are notices.
    """

    channel: Channel

    def launch(self, worker: int, end: socket.socket) -> None:
        """Start a worker on its end of a socket pair, without waiting for it to come up.

        :raises OSError: It cannot be started.
        """

    def kill(self, worker: int) -> None:
        """End a worker at once, whatever it does. One that has ended already is left alone."""

    def notices(self) -> list[Notice]:
        """Read what has happened, once ``channel`` is readable."""

    def stop(self, grace: float) -> None:
        """Wait ``grace`` seconds for the workers to end by themselves, then kill those left."""

    def abandon(self) -> None:
        """Close it in a forked child without sending anything: it is the parent's."""
