"""The tutorial's fourth chapter: an asynchronous view, and a page of another origin that calls it.

Run it with ``flask --app examples/tutorial/chapter4_async run``, and the page with
``python -m http.server 8000 --bind 127.0.0.1 --directory examples/tutorial/page``.
"""

import asyncio

from flask import Flask

from flask_concurrency import Concurrency

app = Flask(__name__)
concurrency = Concurrency(app)
concurrency.cors(app, origins=["http://127.0.0.1:8000", "http://localhost:8000"])


async def task(num: int) -> str:
    """Wait for another service without keeping a thread."""
    await asyncio.sleep(0.1)
    return f"Task {num} is done"


@app.route("/api")
@concurrency.limit("5/minute")
async def api() -> list[str]:
    """Wait for five things at once, on the one event loop of this process."""
    return list(await asyncio.gather(*(task(num) for num in range(5))))
