"""An app that shows what it does on a page, for a browser to look at."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = "host://"
concurrency = Concurrency(app)
concurrency.dashboard(app, access=lambda: True)
concurrency.metrics(app)


@app.get("/limited")
@concurrency.limit("5/hour")
def limited() -> str:
    return "in"


@app.get("/worker")
def worker() -> str:
    """Which process answers."""
    return str(os.getpid())


@app.get("/snapshot")
def snapshot() -> dict[str, Any]:
    """What code sees."""
    return asdict(concurrency.snapshot())
