"""An app of which several hosts serve a part, as the environment says where their server is."""

from __future__ import annotations

import os

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
app.config["CONCURRENCY_STORE"] = os.environ["STORE_OF_THE_FLEET"]
app.config["CONCURRENCY_COUNTS"] = True
concurrency = Concurrency(app)


@app.get("/limited")
@concurrency.limit("20/hour")
def limited() -> str:
    return "in"


@app.get("/worker")
def worker() -> str:
    """Which process answers."""
    return str(os.getpid())
