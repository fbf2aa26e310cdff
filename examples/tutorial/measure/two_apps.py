"""The two apps that four workers serve: "10 per hour" the tutorial's way, and here."""

from __future__ import annotations

import os

from flask import Flask, Response
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flask_concurrency import Concurrency


def hello() -> str:
    """Greet."""
    return "Hello, World!"


def tell_the_worker(response: Response) -> Response:
    """Let the client see which worker answered."""
    response.headers["X-Worker"] = str(os.getpid())
    return response


theirs = Flask("theirs")
Limiter(get_remote_address, app=theirs, default_limits=["10 per hour"])
ours = Flask("ours")
Concurrency(ours, default_limits="10 per hour")
for app in (theirs, ours):
    app.add_url_rule("/", "hello", hello)
    app.after_request(tell_the_worker)
