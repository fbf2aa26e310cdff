"""The tutorial's second chapter: five tasks on threads, and what each of them returned.

Run it with ``flask --app examples/tutorial/chapter2_threads run``.
"""

import time

from flask import Flask, request

from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app)


def task(num: int) -> str:
    """Wait for somebody else, as a download or a query does."""
    time.sleep(0.1)
    return f"Task {num} is done for {request.args.get('name', 'World')}"


@app.route("/")
def index() -> list[str]:
    """Run five tasks at the same time; their results come in the order of the tasks."""
    return list(concurrency.threads.map(task, range(5)))
