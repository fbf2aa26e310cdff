"""Chapter 4, asynchronous: a view that awaits. On the extension it runs on the shared loop.

The same view in Flask alone is in ``stock.py``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from examples.demo.extension import concurrency
from examples.demo.loop_census import where_it_runs
from examples.demo.parameters import seconds_to_wait
from flask import Blueprint

Answer = dict[str, Any]

waiting = Blueprint("waiting", __name__)


@waiting.get("/wait")
@concurrency.limit("256 in flight", replace=True)
async def wait() -> Answer:
    await asyncio.sleep(seconds_to_wait())
    return where_it_runs()
