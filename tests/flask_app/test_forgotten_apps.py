"""Apps without a reference, as each test of a test suite leaves one behind."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from flask import Flask, request

from flask_concurrency import Concurrency


def ask(*paths: str) -> threading.Event:
    """Make an app with views that limit, and use every executor; ask it, and forget it.

    :returns: Is set once the app is gone.
    """
    app = Flask(__name__)
    concurrency = Concurrency(app)

    @app.get("/limited")
    @concurrency.limit("5/minute; 2 in flight")
    def limited() -> str:
        return request.path

    @app.get("/threads")
    def threads() -> str:
        return concurrency.threads.submit(lambda: request.path).result(30)

    @app.get("/loop")
    async def loop() -> str:
        return await concurrency.threads.run(lambda: request.path)

    @app.get("/processes")
    def processes() -> str:
        return concurrency.processes.submit(str, request.path).result(30)

    client = app.test_client()
    assert [client.get(path).text for path in paths] == list(paths)
    gone = threading.Event()
    weakref.finalize(app, gone.set)
    return gone


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["/limited"],
        ["/threads"],
        ["/loop"],
        ["/limited", "/loop", "/threads"],
        pytest.param(["/processes"], marks=pytest.mark.slow),
    ],
    ids="+".join,
)
def test_a_forgotten_app_is_gone(paths: list[str]) -> None:
    """Its store and executors go with it: no finalizer, thread or loop keeps it, nor a request."""
    gone = ask(*paths)
    for _ in range(3000):  # a thread that has just ended a task may still be putting it away
        gc.collect()
        if gone.wait(0.01):
            return
    pytest.fail("The app is still there.")
