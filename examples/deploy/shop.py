"""A shop that is ready to be deployed: probes, a drain, limits and deadlines."""

from __future__ import annotations

from flask import Flask

from flask_concurrency import Concurrency, InFlight

app = Flask(__name__)
app.config["CONCURRENCY_DRAIN_TIMEOUT"] = 20.0
concurrency = Concurrency(app, default_limits="100/minute")
concurrency.health(app, live="/livez", ready="/readyz")


@app.get("/")
@concurrency.limit(InFlight(8, max_queue=4, max_wait=1.0))
@concurrency.deadline(10.0)
def index() -> str:
    return "Welcome"
