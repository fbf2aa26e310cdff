"""The tutorial's first chapter: 100 requests a day, 10 an hour, 5 a minute, and 2 at once.

Run it with ``flask --app examples/tutorial/chapter1_limits run``.
"""

import time

from flask import Flask

from flask_concurrency import Concurrency, InFlight

app = Flask(__name__)
concurrency = Concurrency(app, default_limits="100/day; 10/hour")


@app.route("/")
@concurrency.limit("5/minute")  # adds to the defaults
def index() -> str:
    """Say hello to clients that come no more often than that."""
    return "Hello, World!"


@app.route("/report")
@concurrency.limit(InFlight(2))
def report() -> str:
    """Work for a while: what a rate cannot bound, because it never asks how long you stay."""
    time.sleep(1)
    return "Here is your report."
