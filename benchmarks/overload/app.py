"""The apps that are overloaded: four ordinary workloads, on WSGI and on ASGI, and the demo's.

The environment says which limit stands before it: ``BENCH_LIMIT``, empty for none. A request may
say how much slower a dependency is now (``?slower=0.3``) and who asks (``?key=7``).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING

from examples.demo.overloaded import create_app
from flask import Flask, request

from flask_concurrency import Concurrency

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from flask_concurrency.asgi.interface import Receive, Scope, Send

SLOTS = 10
SLOT = 0.05
REFUSAL = b"overloaded"
LIMIT = os.environ.get("BENCH_LIMIT", "")
LIMIT_BY_KEY = "BENCH_KEYS" in os.environ


def burn(milliseconds: float) -> None:
    """Compute for so long, by the thread's own clock."""
    end = time.thread_time() + milliseconds / 1e3
    while time.thread_time() < end:
        sum(range(50))


def slower() -> float:
    """Seconds that a dependency takes now beyond what it takes otherwise."""
    return request.args.get("slower", 0.0, type=float)


def limited(app: Flask) -> Concurrency:
    """Put the limit before an app, and health checks before that."""
    keys = {"key": lambda: request.args.get("key", "")} if LIMIT_BY_KEY else {}
    concurrency = Concurrency(app, store="memory://", app_limits=LIMIT or None, **keys)
    concurrency.health(app)
    return concurrency


def make_wsgi() -> Flask:
    """Views that block."""
    app = Flask(__name__)
    slots = threading.BoundedSemaphore(SLOTS)
    concurrency = limited(app)

    @app.get("/cpu")
    def cpu() -> str:
        burn(5)
        return "done"

    @app.get("/mix")
    def mix() -> str:
        burn(5)
        time.sleep(0.045 + slower())
        return "done"

    @app.get("/critical/mix")
    @concurrency.priority("critical")
    def critical_mix() -> str:
        return mix()

    @app.get("/pool")
    def pool() -> str:
        burn(1)
        with slots:
            time.sleep(SLOT)
        return "done"

    @app.get("/critical/pool")
    @concurrency.priority("critical")
    def critical_pool() -> str:
        return pool()

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
    concurrency = limited(app)
    slots: list[asyncio.Semaphore] = []

    @app.get("/cpu")
    async def cpu() -> str:
        burn(5)
        return "done"

    @app.get("/mix")
    async def mix() -> str:
        burn(5)
        await asyncio.sleep(0.045 + slower())
        return "done"

    @app.get("/critical/mix")
    @concurrency.priority("critical")
    async def critical_mix() -> str:
        return await mix()

    @app.get("/pool")
    async def pool() -> str:
        burn(1)
        if not slots:
            slots.append(asyncio.Semaphore(SLOTS))
        async with slots[0]:
            await asyncio.sleep(SLOT)
        return "done"

    @app.get("/critical/pool")
    @concurrency.priority("critical")
    async def critical_pool() -> str:
        return await pool()

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


def bare_wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Refuse without Flask: the least that a refusal can take on this server."""
    start_response("503 Service Unavailable", [("Content-Length", str(len(REFUSAL)))])
    return [REFUSAL]


async def bare_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """The same on ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError  # a server that asks for a lifespan then goes on without
    headers = [(b"content-length", str(len(REFUSAL)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSAL})


app_wsgi = make_wsgi()
app_asgi = make_asgi()
demo_wsgi = create_app(LIMIT or None)
