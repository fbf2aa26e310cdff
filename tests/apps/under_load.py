"""An app whose views use every way to have work done, each with an answer that can be checked."""

from __future__ import annotations

import asyncio
import os
import time

from flask import Flask, request

from flask_concurrency import Concurrency, InFlight, WorkerDied

BIG = 2 * 1024 * 1024

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "host://"
app.config["CONCURRENCY_THREADS"] = {"max_workers": 8}
app.config["CONCURRENCY_PROCESSES"] = {"max_workers": 2, "preload": [__name__]}
concurrency = Concurrency(app)


def number() -> int:
    """What the client sent; its answer must be made of this and of no other client's number."""
    return int(request.args["n"])


def look_up(step: int) -> int:
    """Read the request on another thread, and wait a little as for a database."""
    time.sleep(0.002)
    return number() + step


def square(n: int) -> int:
    return n * n


def turn_round(content: bytes) -> bytes:
    return content[::-1]


def die(code: int) -> None:
    os._exit(code)


def hang() -> None:
    time.sleep(3600)


async def later(n: int) -> int:
    await asyncio.sleep(0.002)
    return n + 1


@app.get("/threads")
@concurrency.limit(InFlight(200))
def threads() -> list[int]:
    return list(concurrency.threads.map(look_up, range(5)))


@app.get("/processes")
@concurrency.deadline(60.0)
def processes() -> list[int]:
    n = number()
    return list(concurrency.processes.map(square, range(n, n + 5)))


@app.get("/group")
@concurrency.deadline(60.0)
def group() -> list[int]:
    """One task on each of the executors there are."""
    with concurrency.task_group(timeout=50.0) as group:
        group.threads.submit(look_up, 1)
        group.processes.submit(square, number())
        group.loop.submit(later, number())
    return group.results()


@app.get("/async")
async def on_the_loop() -> list[int]:
    one, two = await asyncio.gather(later(number()), concurrency.threads.run(look_up, 2))
    return [one, two, await concurrency.processes.run(square, 3)]


@app.get("/big")
def big() -> dict[str, object]:
    """Large buffers, there and back."""
    content = number().to_bytes(8, "little") + bytes(BIG)
    back = concurrency.processes.submit(turn_round, content).result()
    return {"n": int.from_bytes(back[-8:], "big"), "bytes": len(back)}


@app.get("/late")
@concurrency.deadline(0.3)
def late() -> str:
    """Ask for what never ends; the worker that does it is killed."""
    concurrency.processes.submit(hang).result()
    return "never"


@app.get("/crash")
def crash() -> dict[str, int | None]:
    try:
        concurrency.processes.submit(die, number() % 50 + 1).result()
    except WorkerDied as death:
        return {"exitcode": death.exitcode}
    return {"exitcode": None}


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())
