"""Decide what a pool may ask of whoever starts and ends its workers. Knows no way to do it."""

from __future__ import annotations

import socket
from typing import NamedTuple, Protocol

from flask_concurrency.executors.processes.wire import Channel


class WorkerExited(NamedTuple):
    """A worker process has ended; a negative ``exitcode`` is the number of a signal."""

    worker: int
    exitcode: int


class LauncherEnded(NamedTuple):
    """No more workers come from this launcher, and those it started have ended or soon will."""

    reason: str


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
        """Let go of it in a forked child, without a word to it: it is the parent's."""
