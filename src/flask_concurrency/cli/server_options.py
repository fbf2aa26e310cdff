"""Say how an app is served: where, by how many, how it stops. Knows no server."""

from __future__ import annotations

import os
from dataclasses import dataclass

THREADS = 8
"""Threads of a worker. Views mostly wait, so one thread would let one slow request hold up all
others; and a request has to reach a thread to be refused. More of them mainly cost memory and, for
views that compute, the interpreter's switching."""

GRACEFUL_TIMEOUT = 30
"""Seconds; the same as gunicorn's."""

BACKLOG = 2048
"""Connections that may wait; the same as gunicorn's. The kernel may allow fewer."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What one server is started with.

    :ivar host: A numeric address.
    :ivar port: A port that is free.
    :ivar workers: Processes.
    :ivar threads: Threads of each that run views.
    :ivar graceful_timeout: Seconds that requests in flight get when the server stops.
    :ivar asgi: Whether asynchronous views run on the server's event loop.
    :ivar import_path: What Flask's loader is given; ``None`` leaves it to its search.
    :ivar uds: Path of a Unix socket to listen on in place of an address.
    :ivar access_log: Whether each request is logged.
    :ivar log_level: What of the server's own life is logged, and what is worse.
    :ivar reload: Directory whose changes load the app anew; ``None`` watches none.
    :ivar runs_jobs: Whether a worker for the app's jobs is kept running beside.
    """

    host: str
    port: int
    workers: int
    threads: int
    graceful_timeout: int
    import_path: str | None
    asgi: bool = False
    uds: str | None = None
    access_log: bool = False
    log_level: str = "info"
    reload: str | None = None
    runs_jobs: bool = False


def available_cpus() -> int:
    """CPUs this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
