"""Apps that are each held up by one thing that is known, to be tuned."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

four = threading.BoundedSemaphore(4)


def compute(seconds: float) -> int:
    """Use the processor for so long, of this thread's own time."""
    end_at = time.thread_time() + seconds
    turns = 0
    while time.thread_time() < end_at:
        turns += 1
    return turns


def computes() -> str:
    """The interpreter: one thread of a process computes at a time."""
    return str(compute(0.008))


def both() -> str:
    """The interpreter, and a wait as long as what is computed."""
    time.sleep(0.01)
    return str(compute(0.01))


def lock() -> str:
    """A lock of the whole host, as that of a file database's writers."""
    with open(__file__) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(0.03)
    return "lock"


def pool() -> str:
    """Four places of each process, as a pool of connections has."""
    with four:
        time.sleep(0.05)
    return "pool"


def waits() -> str:
    """Nothing: another service has room for all."""
    time.sleep(0.3)
    return "waits"


APPS: dict[str, Callable[[], str]] = {
    "computes": computes, "both": both, "lock": lock, "pool": pool, "waits": waits,
}  # fmt: skip
"""Each view by its name."""


def make(*names: str) -> Flask:
    """An app of these views, each at ``/name``; without names of all of them."""
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask(__name__)
    Concurrency(app, default_limits="1/hour")  # which are not asked while it is tuned
    for name in names or APPS:
        app.add_url_rule(f"/{name}", view_func=APPS[name])
    return app
