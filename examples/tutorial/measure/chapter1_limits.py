"""Measure the first chapter: what Flask-Limiter as the tutorial uses it lets in, and what we do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flask_concurrency import Concurrency, InFlight

from .crowd import Room, send_at_once
from .figure import Figure
from .four_workers import admitted_by_four_workers

warnings.filterwarnings("ignore", message="Using the in-memory storage")


def figures() -> Iterator[Figure]:
    """Each step of the chapter."""
    yield Figure("The tutorial's first line", first_line_of_theirs(), first_line_of_ours())
    yield Figure(
        '6 requests at once; defaults "3 per hour", the view "5 per minute"',
        f"{admitted(hello_theirs())} admitted: the decorator replaced the defaults",
        f"{admitted(hello_ours())} admitted: both count",
    )
    yield Figure(
        '"10 per hour" on gunicorn with 4 workers and no Redis',
        f"{admitted_by_four_workers('theirs')} admitted",
        f"{admitted_by_four_workers('ours')} admitted",
    )
    yield Figure(
        "5 slow requests at the same time",
        in_the_room(limited=False),
        in_the_room(limited=True),
    )
    yield Figure(
        "The 6th request within a minute",
        refusal(hello_theirs("10 per hour")),
        refusal(hello_ours("10 per hour")),
    )


def first_line_of_theirs() -> str:
    """Create the limiter as the tutorial does, on today's Flask-Limiter."""
    limiter: Any = Limiter  # a type checker refuses the tutorial's call, too
    try:
        limiter(Flask(__name__), key_func=get_remote_address, default_limits=["100 per day"])
    except TypeError as error:
        return f"TypeError: {error}"
    return "the app starts"


def first_line_of_ours() -> str:
    """Create ours with the same limits."""
    Concurrency(Flask(__name__), default_limits="100 per day", store="memory://")
    return "the app starts"


def hello_theirs(default: str = "3 per hour") -> Flask:
    """The tutorial's app, with its first line mended."""
    app = Flask(__name__)
    limiter = Limiter(get_remote_address, app=app, default_limits=[default])

    @app.route("/")
    @limiter.limit("5 per minute")
    def index() -> str:
        return "Hello, World!"

    return app


def hello_ours(default: str = "3 per hour") -> Flask:
    """The same app, here."""
    app = Flask(__name__)
    concurrency = Concurrency(app, default_limits=default, store="memory://")

    @app.route("/")
    @concurrency.limit("5 per minute")
    def index() -> str:
        return "Hello, World!"

    return app


def admitted(app: Flask, requests: int = 6) -> int:
    """How many of so many requests are let in."""
    client = app.test_client()
    return sum(client.get("/").status_code == 200 for _ in range(requests))


def in_the_room(*, limited: bool) -> str:
    """Send five requests that all stay until each has come in or was refused.

    :param limited: By the number inside, or else by the tutorial's rate.
    """
    app = Flask(__name__)
    room = Room(expected=5)
    limit = (
        Concurrency(app, store="memory://").limit(InFlight(2))
        if limited
        else Limiter(get_remote_address, app=app).limit("5 per minute")
    )

    @app.route("/")
    @limit
    def slow() -> str:
        return room.stay()

    send_at_once(app, room)
    return f"{room.most} inside at once" + (
        f", {room.refused} answered 503" if room.refused else ""
    )


def refusal(app: Flask) -> str:
    """What a client learns from being refused."""
    client = app.test_client()
    for _ in range(6):
        response = client.get("/")
    waits = response.headers.get("Retry-After")
    return f"{response.status_code} {response.mimetype}, Retry-After: {waits or 'not sent'}"
