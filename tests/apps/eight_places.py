"""An app with eight permits, whose visitors show by a connection of their own that they are inside.

The kernel closes that connection with the process, however it ends. So the test that counts at
the other end, at the Unix socket that ``PRESENCE`` names, needs neither the app nor the store.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, request

from flask_concurrency import Concurrency, InFlight

PLACES = 8

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "host://"
# A worker that is stopped while it holds a lock is an outage to the others, which must not guess.
app.config["CONCURRENCY_ON_STORE_FAILURE"] = "refuse"
app.logger.disabled = True
concurrency = Concurrency(app)
eight = concurrency.limit(InFlight(PLACES), name="eight")


@contextmanager
def inside(stays: bytes = b"v") -> Iterator[None]:
    """Be counted; ``b"h"`` is held until the other end closes."""
    with socket.socket(socket.AF_UNIX) as presence:
        presence.connect(os.environ["PRESENCE"])
        presence.sendall(stays)
        presence.recv(1)
        yield


@app.get("/plain")
@eight
def plain() -> str:
    with inside():
        time.sleep(0.02)
    return "ok"


@app.get("/async")
@eight
async def on_loop() -> str:
    with inside():
        await asyncio.sleep(0.02)
    return "ok"


@app.get("/error")
@eight
def error() -> str:
    with inside():
        raise RuntimeError("on purpose")


@app.get("/stream")
@eight
def stream() -> Response:
    """Send ``pieces`` of ``size`` bytes, and then fail if ``torn``."""
    pieces, size = request.args.get("pieces", 5, int), request.args.get("size", 1_000, int)
    torn = "torn" in request.args

    def send() -> Iterator[bytes]:
        with inside():
            for _ in range(pieces):
                yield b"x" * size
                time.sleep(0.005)
            if torn:
                raise RuntimeError("on purpose")

    return Response(send())


@app.post("/upload")
@eight
def upload() -> str:
    with inside():
        return str(len(request.get_data()))


@app.get("/held")
@eight
def held() -> str:
    with inside(b"h"):
        return "ok"
