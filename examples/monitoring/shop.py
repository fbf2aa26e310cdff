"""A shop that is asked for more than its limits let in, to be looked at on the dashboard."""

from __future__ import annotations

import time

from flask import Flask

from flask_concurrency import Concurrency, InFlight

app = Flask(__name__)
concurrency = Concurrency(app, store="host://")
concurrency.dashboard(app, access=lambda: True)


@app.get("/")
@concurrency.limit("60/minute")
def index() -> str:
    return "Welcome"


@app.get("/items/<int:number>")
def item(number: int) -> str:
    return str(concurrency.threads.submit(pow, number, 2).result())


@app.get("/report")
@concurrency.limit(InFlight(2, max_queue=4, max_wait=1.0))
def report() -> str:
    time.sleep(0.15)
    return "report"
