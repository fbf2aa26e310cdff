"""A small app that is easily overloaded, served twice: with one word of the extension and without.

Four places, each taken for 40 ms: a hundred requests a second, on any machine.
"""

from __future__ import annotations

import threading
import time

from flask import Flask

from flask_concurrency import Concurrency

PLACES = 4
SECONDS = 0.04
CAPACITY = PLACES / SECONDS
DEADLINE = 0.5

places = threading.BoundedSemaphore(PLACES)


def create_app(app_limits: str | None) -> Flask:
    app = Flask(__name__, static_folder=None)
    concurrency = Concurrency(app, app_limits=app_limits, store="memory://")
    concurrency.health(app)

    @app.get("/work")
    def work() -> str:
        with places:
            time.sleep(SECONDS)
        return "done"

    return app


with_it = create_app("adaptive 500ms")
without = create_app(None)
