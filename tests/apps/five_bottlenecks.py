"""The five apps of the benchmarks in one, and two routes that cannot be measured."""

from __future__ import annotations

import time

from benchmarks.bottlenecks import make

app = make()


@app.get("/broken")
def broken() -> str:
    raise ValueError("broken")


@app.get("/never")
def never() -> str:
    """Answers after longer than any client waits."""
    time.sleep(60)
    return "never"
