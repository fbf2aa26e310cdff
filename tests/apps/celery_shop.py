"""An app whose jobs Celery carries: the record on Redis, messages on the same server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_init
from flask import Flask, request

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.jobs import engine

REDIS = os.environ.get("CELERY_SHOP_REDIS", "redis://127.0.0.1:1/0")
SAYS = Path(os.environ.get("CELERY_SHOP_SAYS", os.devnull))

celery = Celery("celery_shop", broker=REDIS)
celery.conf.worker_hijack_root_logger = False


@worker_init.connect
def send_again_soon(**_: object) -> None:
    """In the processes of a Celery worker alone: half a minute is long for a test."""
    engine.SEND_AGAIN_AFTER = 2.0  # type: ignore[misc]


app = Flask(__name__)
app.testing = True
app.config["CONCURRENCY_JOBS"] = {"ledger": REDIS, "engine": celery, "lease": 2.0}
concurrency = Concurrency(app)


def say(event: str) -> None:
    """Append a line, which no kill can cut in two."""
    job = concurrency.jobs.current
    with SAYS.open("a") as file:
        file.write(f"{event} {job.id} {job.attempt} {os.getpid()}\n")


@concurrency.job
def add(one: int, two: int) -> int:
    """Be quick."""
    say("start")
    return one + two


@concurrency.job(interruptions=3)
def hold_first(gate: str) -> str:
    """Run until a file is there; further attempts end at once."""
    say("start")
    while concurrency.jobs.current.attempt == 1 and not Path(gate).exists():
        time.sleep(0.01)
    return "held"


@concurrency.job(timeout=1.0)
def too_long() -> None:
    """Never end."""
    say("start")
    time.sleep(1_000_000)


@concurrency.job(retries=1, backoff=0.1)
def fail() -> None:
    """Raise an error."""
    say("start")
    raise ValueError("as told")


@app.post("/adds")
def create() -> Any:
    """Accept a job."""
    return add.submit(**request.get_json()).accepted()
