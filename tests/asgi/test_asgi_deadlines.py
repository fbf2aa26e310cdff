"""Deadlines hold on a server's loop as they do in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Flask

from asgi_exchange import Answer, ask
from flask_concurrency import Concurrency
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.executors.loop import deadline

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.mark.slow  # its seconds are for a busy machine to begin the view
@pytest.mark.parametrize("swallows", [False, True])
def test_an_async_view_is_cancelled_at_its_deadline(
    swallows: bool,
    app: Flask,
    concurrency: Concurrency,
    asgi: AsgiApplication,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """504, with its ``finally`` and an async teardown run, even if it swallows one cancellation."""
    monkeypatch.setattr(deadline, "CLEAN_UP", 0.01)
    done = []

    @app.get("/")
    @concurrency.deadline(1.0)
    @concurrency.limit("1 in flight")
    async def view() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not swallows:
                raise
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("finally")
        return "never"

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        await asyncio.sleep(0)
        done.append("teardown")

    async def story() -> list[Answer]:
        return [await ask(asgi), await ask(asgi)]

    assert [answer.status for answer in run(story())] == [504, 504]
    assert done == ["finally", "teardown"] * 2


def test_an_async_handler_of_504_is_let_run(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The deadline that it answers for does not end it as well."""

    @app.get("/")
    @concurrency.deadline(0.2)
    async def view() -> str:
        await asyncio.Event().wait()
        return "never"

    @app.errorhandler(504)
    async def late(error: Exception) -> tuple[str, int]:
        await asyncio.sleep(0)
        return "late", 504

    answer = run(ask(asgi))
    assert (answer.status, answer.text) == (504, "late")
