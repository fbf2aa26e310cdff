"""Task groups of views, hooks and coroutines that a server's event loop runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from flask import Flask, g, request
from flask.typing import ResponseReturnValue

from asgi_exchange import Exchange, ask
from event_loops import until_idle
from flask_concurrency import Concurrency
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def path() -> str:
    return request.path


async def which_loop() -> int:
    return id(asyncio.get_running_loop())


def test_coroutines_run_on_the_servers_loop_wherever_the_view_runs(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """An async view on that loop, an ordinary one on a thread; both see their request."""

    @app.get("/async")
    async def on_loop() -> ResponseReturnValue:
        async with concurrency.task_group(timeout=30) as group:
            group.loop.submit(which_loop)
            group.threads.submit(path)
        return group.results()

    @app.get("/sync")
    def on_thread() -> ResponseReturnValue:
        with concurrency.task_group(timeout=30) as group:
            group.loop.submit(which_loop)
            group.threads.submit(path)
        return group.results()

    async def story() -> list[Any]:
        here = id(asyncio.get_running_loop())
        return [
            (await ask(asgi, path)).text == f'[{here},"{path}"]\n' for path in ("/async", "/sync")
        ]

    assert run(story()) == [True, True]


def test_an_ordinary_hook_of_an_async_view_may_use_a_group(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """It runs on the loop, and waits without holding it up: other requests are answered."""
    met = asyncio.Event()

    @app.before_request
    def look_up() -> None:
        if request.path == "/first":
            with concurrency.task_group() as group:
                found = group.loop.submit(met.wait)
                g.found = found.result()

    @app.get("/first")
    async def first() -> ResponseReturnValue:
        return {"found": g.found}

    @app.get("/second")
    async def second() -> ResponseReturnValue:
        met.set()
        return "second"

    async def story() -> list[str]:
        one = asyncio.create_task(ask(asgi, "/first"))
        await until_idle()
        two = await ask(asgi, "/second")
        return [(await one).text, two.text]

    assert run(story()) == ['{"found":true}\n', "second"]


def test_a_client_that_leaves_ends_the_tasks_of_its_request(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """The request needs their results no longer."""
    ended: list[bool] = []

    async def story() -> None:
        began = asyncio.Event()
        over = asyncio.Event()

        async def for_ever() -> None:
            began.set()
            await asyncio.Event().wait()

        @app.get("/")
        async def view() -> ResponseReturnValue:
            try:
                async with concurrency.task_group() as group:
                    group.loop.submit(for_ever)
            finally:
                ended.extend(task.cancelled() for task in group.tasks)
                over.set()
            return ""

        exchange = Exchange(asgi, "/")
        await began.wait()
        exchange.leave()
        await over.wait()

    run(story())
    assert ended == [True]
