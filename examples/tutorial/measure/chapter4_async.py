"""Measure the fourth chapter: Flask's own async views and a bare ``CORS(app)``, against ours."""

from __future__ import annotations

import asyncio
import re
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from flask import Flask
from flask_cors import CORS
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flask_concurrency import Concurrency

from .figure import Figure, ask, outcome, times_as_long

warnings.filterwarnings("ignore", message="Using the in-memory storage")

PAGE = "https://shop.example"
STRANGER = "https://evil.example"
IMPOSTOR = "https://a.shop.example.evil.example"
SUBDOMAINS = r"https://.*\.shop\.example"
View = Callable[[], Awaitable[str]]
Way = Callable[[View], Flask]


def figures() -> Iterator[Figure]:
    """Each step of the chapter."""
    yield Figure("20 requests to an async view", loops_used(theirs), loops_used(ours))
    yield Figure(
        "A connection opened in one request, used in the next",
        second_use_of_a_connection(theirs),
        second_use_of_a_connection(ours),
    )
    yield times_as_long("A request to an async view", theirs(nothing), ours(nothing))
    yield Figure(
        "A stranger's page asks, cookies are allowed, no origin is named",
        allowed_origin(their_api(supports_credentials=True), STRANGER),
        outcome(lambda: our_api(origins="*", supports_credentials=True)),
    )
    yield Figure(
        f"{IMPOSTOR} asks, the pattern is {SUBDOMAINS}",
        allowed_origin(their_api(origins=SUBDOMAINS), IMPOSTOR),
        allowed_origin(our_api(origins=re.compile(SUBDOMAINS)), IMPOSTOR),
    )
    yield Figure(
        "A page calls 5 times under 5 per minute, each time with a preflight",
        f"{calls_answered(their_api())} calls answered",
        f"{calls_answered(our_api(origins=PAGE))} calls answered",
    )
    yield Figure(
        "What the page's script can read of a refusal, beside its status and body",
        readable_of_a_refusal(their_api()),
        readable_of_a_refusal(our_api(origins=PAGE)),
    )


def theirs(view: View) -> Flask:
    """An app with an async view, and nothing else."""
    app = Flask(__name__)
    app.add_url_rule("/", "index", view)
    return app


def ours(view: View) -> Flask:
    """The same app, here."""
    app = theirs(view)
    Concurrency(app)
    return app


async def nothing() -> str:
    """Do nothing."""
    return "done"


def loops_used(way: Way) -> str:
    """Send 20 requests, one after the other, and count what ran them."""
    loops, threads = set(), set()

    async def view() -> str:
        loops.add(asyncio.get_running_loop())
        threads.add(threading.current_thread())
        return "done"

    app = way(view)
    for _ in range(20):
        ask(app)
    return f"event loops: {len(loops)}, threads: {len(threads)}"


def second_use_of_a_connection(way: Way) -> str:
    """Keep a connection as clients of databases and of other services do."""
    kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever).start()

        async def view() -> str:
            if not kept:
                kept.append(await asyncio.open_connection(*server.server_address))
            reader, writer = kept[0]
            writer.write(b"hello\n")
            return (await reader.readline()).decode()

        app = way(view)
        app.testing = True  # raise what a view raises
        try:
            ask(app)
            return outcome(lambda: ask(app))
        finally:
            server.shutdown()


class EchoServer(ThreadingTCPServer):
    """Send back every line."""

    daemon_threads = True


class Echo(StreamRequestHandler):
    """One connection to the server."""

    def handle(self) -> None:
        """Serve until the client leaves."""
        with suppress(ConnectionError):
            for line in self.rfile:
                self.wfile.write(line)


def their_api(**cors: Any) -> Flask:
    """An API under the tutorial's ``CORS(app)``, with default limits as in its first chapter."""
    app = Flask(__name__)
    CORS(app, **cors)
    Limiter(get_remote_address, app=app, default_limits=["5 per minute"])

    @app.put("/")
    def index() -> str:
        return "done"

    return app


def our_api(**cors: Any) -> Flask:
    """The same API, here."""
    app = Flask(__name__)
    concurrency = Concurrency(app, default_limits="5 per minute", store="memory://")
    concurrency.cors(app, **cors)

    @app.put("/")
    def index() -> str:
        return "done"

    return app


def allowed_origin(app: Flask, origin: str) -> str:
    """Which origin the API's answer allows, and whether with the visitor's cookies."""
    headers = app.test_client().put("/", headers={"Origin": origin}).headers
    cookies = headers.get("Access-Control-Allow-Credentials")
    allowed = headers.get("Access-Control-Allow-Origin", "nobody")
    return f"allowed: {allowed}" + (", with cookies" if cookies else "")


def calls_answered(app: Flask) -> int:
    """Call five times as a browser does: ask for permission first, and go on only with it."""
    client = app.test_client()
    answered = 0
    for _ in range(5):
        permission = client.options(
            "/", headers={"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
        )
        if permission.status_code == 200:
            answered += client.put("/", headers={"Origin": PAGE}).status_code == 200
    return answered


def readable_of_a_refusal(app: Flask) -> str:
    """Which header fields a refusal lets scripts of the page read."""
    client = app.test_client()
    for _ in range(6):
        response = client.put("/", headers={"Origin": PAGE})
    return response.headers.get("Access-Control-Expose-Headers", "nothing")
