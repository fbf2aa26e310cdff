"""A gateway: five services are asked for each request, by one client that all requests share.

Run the services of another example, which are slow on purpose, and the gateway on an event loop::

    flask --app examples/aggregator/services run --port 5001
    flask --app examples/gateway/app concurrency serve --asgi

Then ask for many pages at once; each waits half a second, and no thread does::

    seq 200 | xargs -P 50 -I{} curl -s http://127.0.0.1:8000/ -o /dev/null

The same app works on a WSGI server, where all requests of a process share one loop, and the client.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import httpx
from flask import Flask

from flask_concurrency import Concurrency

SERVICES = ("weather", "news", "traffic", "events", "prices")

app = Flask(__name__)
app.config["SERVICES_URL"] = os.environ.get("SERVICES_URL", "http://127.0.0.1:5001")
concurrency = Concurrency(app)


@app.get("/")
@concurrency.limit("500 in flight")
@concurrency.deadline(10.0)
async def front_page() -> dict[str, Any]:
    """Ask all services at once; a service that fails fails the page, and the other calls end."""
    async with concurrency.task_group() as group:
        tasks = {name: group.loop.submit(ask, name) for name in SERVICES}
    return {name: task.result() for name, task in tasks.items()}


async def ask(name: str) -> Any:
    """What a service answers, as long as the request has time."""
    answer = await client().get(f"/{name}", timeout=concurrency.remaining())
    answer.raise_for_status()
    return answer.json()


@cache
def client() -> httpx.AsyncClient:
    """The client of this process: its connections are kept for the next request."""
    limits = httpx.Limits(max_connections=100)
    return httpx.AsyncClient(base_url=app.config["SERVICES_URL"], limits=limits)


@app.errorhandler(httpx.HTTPError)
def bad_gateway(error: httpx.HTTPError) -> tuple[dict[str, str], int]:
    """Say that it was not this server."""
    return {"error": f"A service did not answer: {type(error).__name__}."}, 502


asgi = concurrency.asgi_app(app)
