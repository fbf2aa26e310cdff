"""An app whose limits several worker processes share, with views that wait until told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, Response

from flask_concurrency import Concurrency, InFlight

SCRATCH = Path(os.environ["TMPDIR"])
"""Where the test says that visitors may leave, and who is inside says so."""

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "host://"
concurrency = Concurrency(app)

eight = concurrency.limit(InFlight(8), name="eight")


@app.get("/hundred")
@concurrency.limit("100/hour")
def hundred() -> str:
    return "in"


@app.get("/inside")
@eight
def inside() -> dict[str, int]:
    """Stay until the file ``leave`` exists, and return how many were inside with us."""
    mark = SCRATCH / f"inside-{os.getpid()}-{time.monotonic_ns()}"
    mark.touch()
    seen = 0
    while not (SCRATCH / "leave").exists():
        seen = max(seen, len(list(SCRATCH.glob("inside-*"))))
        time.sleep(0.01)
    mark.unlink()
    return {"seen": seen, "pid": os.getpid()}


@app.get("/stream")
@eight
def stream() -> Response:
    """Send until the client leaves."""

    def chunks() -> Iterator[bytes]:
        while True:
            yield b"x" * 65_536

    return Response(chunks())


@app.get("/probe")
@eight
def probe() -> str:
    return "free"


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.get("/worker")
def worker() -> str:
    """Which process answers."""
    return str(os.getpid())


concurrency.metrics(app)
