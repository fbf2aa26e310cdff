"""A shop that is ready to be deployed: probes, a drain, limits and deadlines."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_concurrency import Concurrency, InFlight

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign] # one proxy before it
app.config["CONCURRENCY_DRAIN_TIMEOUT"] = 20.0
app.config.from_prefixed_env()  # FLASK_CONCURRENCY_STORE, where several machines count together
concurrency = Concurrency(app, default_limits="100/minute")
concurrency.health(app, live="/livez", ready="/readyz")


@app.get("/")
@concurrency.limit(InFlight(8, max_queue=4, max_wait=1.0))
@concurrency.deadline(10.0)
def index() -> str:
    return "Welcome"
