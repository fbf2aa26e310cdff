"""The asynchronous view of chapter 4 in Flask alone, to compare with. Knows no extension."""

from __future__ import annotations

import asyncio
from typing import Any

from examples.demo.loop_census import where_it_runs
from examples.demo.parameters import seconds_to_wait
from examples.demo.problems import install
from flask import Flask

Answer = dict[str, Any]

app = Flask(__name__, static_folder=None)
install(app)


@app.get("/wait")
async def wait() -> Answer:
    await asyncio.sleep(seconds_to_wait())
    return where_it_runs()
