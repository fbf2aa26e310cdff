"""A Flask app with a process executor of its own, for the tests with real servers."""

from __future__ import annotations

import os

from flask import Flask

import process_tasks as tasks
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.vocabulary.errors import WorkerDied

app = Flask(__name__)
processes = ProcessExecutor(2, name="of-the-app")

if os.environ.get("USE_POOL_AT_IMPORT"):
    assert list(processes.map(tasks.double, range(5))) == [0, 2, 4, 6, 8]


@app.get("/double")
def double() -> dict[str, object]:
    return {
        "results": list(processes.map(tasks.double, range(5))),
        "owner": os.getpid(),
        "workers": sorted(set(processes.map(tasks.worker_pid, range(5)))),
        "listening": processes.submit(tasks.count_listening).result(),
    }


@app.get("/crash")
def crash() -> tuple[str, int]:
    try:
        processes.submit(tasks.die_with, 3).result()
    except WorkerDied as error:
        return str(error), 500
    return "survived", 200
