"""Deadlines hold on a server's loop as they do in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from flask import Flask, Response

from asgi_exchange import Answer, Exchange, ask
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


def test_a_plain_view_that_blocks_is_answered_at_its_deadline(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """Its thread and its permit are kept until it ends; what it answers then is dropped."""
    go_on, left = threading.Event(), threading.Event()

    @app.get("/")
    @concurrency.limit("1 in flight", name="one")
    @concurrency.deadline(0.15)
    def view() -> str:
        assert go_on.wait(30)
        return "late"

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        left.set()

    async def story() -> None:
        late = await ask(asgi)
        assert (late.status, late.get("content-type")) == (504, "application/problem+json")
        assert (await ask(asgi)).status == 503
        left.clear()
        go_on.set()
        await asyncio.get_running_loop().run_in_executor(None, left.wait, 30)
        while concurrency.threads.snapshot().busy:
            await asyncio.sleep(0)
        assert (await ask(asgi)).status == 200

    run(story())


def test_what_a_view_answers_in_time_may_take_longer(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A stream whose first piece comes late is no late answer."""
    go_on = threading.Event()

    @app.get("/")
    @concurrency.deadline(0.01)
    def view() -> Response:
        def rows() -> Iterator[str]:
            assert go_on.wait(30)
            yield "row"

        return Response(rows())

    async def story() -> None:
        exchange = Exchange(asgi)
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        await exchange.task
        assert (exchange.answer.status, exchange.answer.text) == (200, "row")

    run(story())
