"""An app with jobs, for workers and servers that are processes of their own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from flask import Flask, request

from flask_concurrency import Concurrency

app = Flask(__name__)
app.config["CONCURRENCY_JOBS"] = {
    "ledger": os.environ.get("JOB_SHOP_LEDGER", "sqlite:////tmp/nowhere/jobs.sqlite3"),
    "owner": lambda: request.headers.get("X-User"),
    "processes": 2,
    "max_queued": None,
}
concurrency = Concurrency(app)
asgi = concurrency.asgi_app(app)


@concurrency.job(timeout=600, retries=1, backoff=0.1)
def build_report(year: int, steps: int = 4) -> dict[str, int]:
    """Report progress, and return rows."""
    for step in range(steps):
        concurrency.jobs.current.progress(step / steps, f"step {step}")
        time.sleep(0.02)
    return {"year": year, "rows": 12_000}


@concurrency.job
def wait_for(path: str) -> str:
    """Run until a file is there."""
    while not Path(path).exists():
        time.sleep(0.005)
    return "done"


@concurrency.job(name="mail", queue="mails")
def send_mail(to: str) -> str:
    """Of another queue."""
    return to


@app.post("/reports")
def create() -> Any:
    """Start a report; a client may have the process killed between commit and answer."""
    job = build_report.submit(request.json["year"])
    if "X-Die" in request.headers:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.accepted()


@app.post("/waits")
def wait() -> Any:
    """Start what waits."""
    return wait_for.submit(request.json["path"]).accepted()


@app.get("/fast")
def fast() -> str:
    """What has nothing to do with jobs."""
    return "fast"
