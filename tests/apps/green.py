"""An app that does everything the extension offers, to be served where threads are greenlets."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

from flask import Flask
from flask.typing import ResponseReturnValue

from flask_concurrency import Concurrency, InFlight, LoopBlocked

app = Flask(__name__)
app.config["CONCURRENCY_PROCESSES"] = {"max_workers": 1}
concurrency = Concurrency(app)

met = threading.Event()
"""Set by one request, and waited for by others."""


def meet(_: object = None) -> bool:
    return met.wait(30)


def mark_later(path: str) -> None:
    time.sleep(0.3)
    Path(path).touch()


async def mark_later_on_loop(path: str) -> None:
    await asyncio.sleep(0.3)
    Path(path).touch()


@app.get("/meet")
def let_them_go_on() -> ResponseReturnValue:
    met.set()
    return "met"


@app.get("/part")
def begin_anew() -> ResponseReturnValue:
    met.clear()
    return "parted"


@app.get("/limited")
@concurrency.limit("1/hour")
def limited() -> ResponseReturnValue:
    return "ok"


@app.get("/turns")
@concurrency.limit(InFlight(1, max_queue=10, max_wait=30.0))
def turns() -> ResponseReturnValue:
    return str(meet())


@app.get("/threads")
def threads() -> ResponseReturnValue:
    return str(list(concurrency.threads.map(meet, range(2))))


@app.get("/group")
def group() -> ResponseReturnValue:
    with concurrency.task_group() as tasks:
        tasks.threads.submit(meet)
        tasks.loop.submit(asyncio.sleep, 0.001, "slept")
    return str(list(tasks.results()))


@app.get("/async")
async def asynchronous() -> ResponseReturnValue:
    return str(await concurrency.threads.run(meet))


@app.get("/plain-code-on-the-loop")
async def plain_code() -> ResponseReturnValue:
    return str(concurrency.threads.submit(meet).result())


@app.get("/task-that-blocks")
async def task_that_blocks() -> ResponseReturnValue:
    async def child() -> str:
        try:
            return str(concurrency.threads.submit(time.sleep, 0.01).result())
        except LoopBlocked:
            return "refused"

    return await asyncio.create_task(child())


@app.get("/no-loop")
def no_loop() -> ResponseReturnValue:
    """A plain view never sees the loop that waits beside it."""

    async def own_loop() -> str:
        return "a loop of its own"

    return asyncio.run(own_loop())


@app.get("/processes")
def processes() -> ResponseReturnValue:
    return str(concurrency.processes.submit(abs, -3).result())


@app.get("/late")
@concurrency.deadline(0.2)
async def late() -> ResponseReturnValue:
    await asyncio.sleep(60)
    return "never"


@app.get("/late-process")
@concurrency.deadline(0.2)
def late_process() -> ResponseReturnValue:
    concurrency.processes.submit(time.sleep, 60).result()
    return "never"


@app.get("/spawn-and-end/<path:directory>")
def spawn_and_end(directory: str) -> ResponseReturnValue:
    concurrency.threads.spawn(mark_later, f"/{directory}/thread")
    concurrency.processes.spawn(mark_later, f"/{directory}/process")
    concurrency.loop.spawn(mark_later_on_loop(f"/{directory}/loop"))
    os.kill(os.getppid(), signal.SIGTERM)
    return "ending"


@app.get("/stream")
def stream() -> ResponseReturnValue:
    return concurrency.event_stream(iter([{"number": 1}, {"number": 2}]))
