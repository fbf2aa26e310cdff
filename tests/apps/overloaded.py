"""An app that is easily overloaded: two permits, each held for 20 ms."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import asdict
from typing import Any

from flask import Flask

from flask_concurrency import Adaptive, Concurrency

PLACES = 2
SECONDS = 0.02

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "memory://"
concurrency = Concurrency(app, app_limits=Adaptive(deadline=1.0))
concurrency.health(app)
seen: list[str] = []
places = threading.BoundedSemaphore(PLACES)
loop_places: list[asyncio.Semaphore] = []


@app.get("/work")
def work() -> str:
    """Wait for a permit, and hold it for a while."""
    with places:
        time.sleep(SECONDS)
    return "done"


@app.get("/work-on-loop")
async def work_on_loop() -> str:
    """The same without a thread."""
    if not loop_places:
        loop_places.append(asyncio.Semaphore(PLACES))
    async with loop_places[0]:
        await asyncio.sleep(SECONDS)
    return "done"


@app.get("/hold")
@concurrency.exempt
def hold() -> str:
    """Keep a thread for a while."""
    time.sleep(1.0)
    return "held"


@app.get("/note/<name>")
@concurrency.exempt
def note(name: str) -> str:
    """Remember that the app has seen this request."""
    seen.append(name)
    return name


@app.get("/state")
@concurrency.exempt
def state() -> dict[str, Any]:
    """What the limit of this process has done."""
    (found,) = app.extensions["concurrency"].adaptive_snapshots().values()
    return {**asdict(found), "process": os.getpid(), "seen": seen}


asgi = concurrency.asgi_app(app)
