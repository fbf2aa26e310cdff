"""An app of five routes, each held up by something else that is known."""

from __future__ import annotations

import threading
import time

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app, default_limits="1/hour")  # which are not asked meanwhile

four = threading.BoundedSemaphore(4)
one = threading.Lock()


def compute(seconds: float) -> int:
    """Use the processor for so long, of this thread's own time."""
    end_at = time.thread_time() + seconds
    turns = 0
    while time.thread_time() < end_at:
        turns += 1
    return turns


@app.get("/computes")
def computes() -> str:
    return str(compute(0.008))


@app.get("/both")
def both() -> str:
    """Computes, and waits for as long."""
    time.sleep(0.01)
    return str(compute(0.01))


@app.get("/lock")
def lock() -> str:
    with one:
        time.sleep(0.03)
    return "lock"


@app.get("/pool")
def pool() -> str:
    """Has four connections of a database, say."""
    with four:
        time.sleep(0.05)
    return "pool"


@app.get("/waits")
def waits() -> str:
    """Asks another service, which has room for all."""
    time.sleep(0.3)
    return "waits"


@app.get("/broken")
def broken() -> str:
    raise ValueError("broken")
