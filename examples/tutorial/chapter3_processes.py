"""The tutorial's third chapter: five tasks on processes, and what each of them returned.

Run it with ``flask --app examples/tutorial/chapter3_processes run``.
"""

import os
from math import isqrt

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app)


def task(num: int) -> str:
    """Count the primes of one range: work that keeps a processor busy."""
    numbers = range(max(2, num * 10_000), (num + 1) * 10_000)
    primes = sum(all(n % d for d in range(2, isqrt(n) + 1)) for n in numbers)
    return f"Task {num} found {primes} primes in process {os.getpid()}"


@app.route("/")
def index() -> list[str]:
    """Run five tasks on the processors there are; their results come in order."""
    return list(concurrency.processes.map(task, range(5)))
