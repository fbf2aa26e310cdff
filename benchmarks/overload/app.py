"""The app that is overloaded: four ordinary workloads, on WSGI and on ASGI.

The environment says which limit stands before it: ``BENCH_LIMIT``, empty for none.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time

from flask import Flask

from flask_concurrency import Concurrency

SLOTS = 10
SLOT = 0.05
LIMIT = os.environ.get("BENCH_LIMIT", "")


def burn(milliseconds: float) -> None:
    """Compute for so long, by the thread's own clock."""
    end = time.thread_time() + milliseconds / 1e3
    while time.thread_time() < end:
        sum(range(50))


def make_wsgi() -> Flask:
    """Views that block."""
    app = Flask(__name__)
    slots = threading.BoundedSemaphore(SLOTS)
    Concurrency(app, store="memory://", app_limits=LIMIT or None)

    @app.get("/cpu")
    def cpu() -> str:
        burn(5)
        return "done"

    @app.get("/mix")
    def mix() -> str:
        burn(5)
        time.sleep(0.045)
        return "done"

    @app.get("/pool")
    def pool() -> str:
        burn(1)
        with slots:
            time.sleep(SLOT)
        return "done"

    @app.get("/fast")
    def fast() -> str:
        burn(2)
        time.sleep(0.01)
        return "done"

    @app.get("/slow")
    def slow() -> str:
        burn(20)
        time.sleep(1.0)
        return "done"

    return app


def make_asgi() -> object:
    """The same views, awaiting."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://", app_limits=LIMIT or None)
    slots: list[asyncio.Semaphore] = []

    @app.get("/cpu")
    async def cpu() -> str:
        burn(5)
        return "done"

    @app.get("/mix")
    async def mix() -> str:
        burn(5)
        await asyncio.sleep(0.045)
        return "done"

    @app.get("/pool")
    async def pool() -> str:
        burn(1)
        if not slots:
            slots.append(asyncio.Semaphore(SLOTS))
        async with slots[0]:
            await asyncio.sleep(SLOT)
        return "done"

    @app.get("/fast")
    async def fast() -> str:
        burn(2)
        await asyncio.sleep(0.01)
        return "done"

    @app.get("/slow")
    async def slow() -> str:
        burn(20)
        await asyncio.sleep(1.0)
        return "done"

    return concurrency.asgi_app(app)


wsgi = make_wsgi()
asgi = make_asgi()
