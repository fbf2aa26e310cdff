"""An app of ordinary size, which workers have loaded. Knows no benchmark."""

from __future__ import annotations

import os
import signal
import time

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app, store="memory://")


@app.get("/")
def index() -> str:
    """Answer, so that a server's worker has done what it does."""
    return "Hello, World!"


def app_name() -> str:
    """What a worker answers once it has the app loaded."""
    return app.name


def hang() -> None:
    """Never end by itself."""
    time.sleep(3600)


def die() -> None:
    """End the worker, as the kernel does when memory is out."""
    os.kill(os.getpid(), signal.SIGKILL)
