"""What a request on ASGI has of its own, and what becomes of it when its client leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from flask import Flask, g, request, session
from flask.typing import ResponseReturnValue
from flask.views import MethodView

from asgi_exchange import Answer, Exchange, ask
from event_loops import Meeting, until
from flask_concurrency import Concurrency, InFlight
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LEAKED: ContextVar[str] = ContextVar("LEAKED", default="nothing")


def test_200_requests_at_once_keep_what_is_theirs(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """``request``, ``g`` and ``session`` are right after awaits, in tasks and in threads."""
    barrier = asyncio.Barrier(200)

    @app.get("/<int:number>")
    async def view(number: int) -> ResponseReturnValue:
        g.number = session["number"] = number
        await barrier.wait()

        async def in_a_task() -> tuple[str, int]:
            await asyncio.sleep(0)
            return request.path, g.number

        async with asyncio.TaskGroup() as group:
            task = group.create_task(in_a_task())
        # In a thread of the pool a task sees its caller's request, and a new ``g``.
        in_a_thread = await asyncio.to_thread(lambda: request.path)
        return {
            "seen": [*task.result(), in_a_thread, g.number, session["number"], request.path],
            "loop": asyncio.get_running_loop() is loops[0],
        }

    loops = []

    async def story() -> list[Answer]:
        loops.append(asyncio.get_running_loop())
        return await asyncio.gather(*(ask(asgi, f"/{number}") for number in range(200)))

    for number, answer in enumerate(run(story())):
        path = f'"/{number}"'
        assert (
            answer.text
            == f'{{"loop":true,"seen":[{path},{number},{path},{number},{number},{path}]}}\n'
        )


def test_pitfall_10_a_request_starts_in_a_fresh_context(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """Servers may start a request in the context of the one before."""

    @app.get("/async")
    async def on_loop() -> str:
        return LEAKED.get()

    @app.get("/sync")
    def on_thread() -> str:
        return LEAKED.get()

    async def story() -> list[str]:
        LEAKED.set("something")
        return [(await ask(asgi, path)).text for path in ("/async", "/sync")]

    assert run(story()) == ["nothing", "nothing"]


def test_async_views_run_on_the_loop_and_all_others_on_threads(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """Routing decides; hooks run where the view runs."""
    places: dict[str, str] = {}

    @app.before_request
    def hook() -> None:
        places[f"{request.method} {request.path}"] = threading.current_thread().name

    class Methods(MethodView):
        async def get(self) -> str:
            return "on the loop"

        def post(self) -> str:
            return "on a thread"

    app.add_url_rule("/methods", view_func=Methods.as_view("methods"))

    @app.get("/async/<int:number>")
    async def on_loop(number: int) -> str:
        return ""

    @app.get("/sync/")
    def on_thread() -> str:
        return ""

    requests = [
        ("GET", "/methods"),
        ("HEAD", "/methods"),
        ("POST", "/methods"),
        ("GET", "/async/1"),
        ("GET", "/sync/"),
        ("GET", "/async/x"),
        ("POST", "/async/1"),
        ("GET", "/sync"),
    ]

    async def story() -> None:
        places["loop"] = threading.current_thread().name
        for method, path in requests:
            await ask(asgi, path, method)

    run(story())
    loop = places.pop("loop")
    on_the_loop = {request for request, place in places.items() if place == loop}
    assert on_the_loop == {"GET /methods", "HEAD /methods", "GET /async/1"}
    assert {place.partition("_")[0] for place in places.values()} == {loop, "threads"}


def test_a_full_pool_refuses_at_once(run: Run) -> None:
    """503 with ``Retry-After``, answered on the loop."""
    app = Flask("full")
    app.config["CONCURRENCY_THREADS"] = {"max_workers": 1, "max_queue": 0}
    concurrency = Concurrency(app, store="memory://")
    asgi = concurrency.asgi_app(app)
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    def view() -> str:
        inside.set()
        assert leave.wait(30)
        return "let in"

    async def story() -> tuple[Answer, Answer]:
        first = Exchange(asgi)
        await until(inside.is_set)
        refused = await ask(asgi)
        leave.set()
        return await first.end(), refused

    admitted, refused = run(story())
    assert (admitted.status, refused.status) == (200, 503)
    assert int(refused.get("retry-after") or 0) > 0
    assert refused.get("content-type") == "application/problem+json"
    concurrency.threads.shutdown()


def test_waiting_for_a_permit_holds_nothing_up(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """A waiting room on the loop lets other requests through, and wakes its waiters."""
    meeting = Meeting()

    @app.get("/narrow")
    @concurrency.limit(InFlight(1, max_queue=1, max_wait=20.0))
    async def narrow() -> str:
        await meeting.wait()
        return "narrow"

    @app.get("/other")
    async def other() -> str:
        return "other"

    async def story() -> list[str]:
        first = Exchange(asgi, "/narrow")
        await meeting.reached.wait()
        second = Exchange(asgi, "/narrow")
        await until(lambda: len(app.extensions["concurrency"].rooms))
        other = await ask(asgi, "/other")
        meeting.go_on.set()
        return [other.text, (await first.end()).text, (await second.end()).text]

    assert run(story()) == ["other", "narrow", "narrow"]


def test_an_error_after_the_view_is_flasks_affair(app: Flask, run: Run) -> None:
    """Without testing mode an exception is a 500, as on WSGI."""
    app.testing = False
    asgi = Concurrency(app, store="memory://").asgi_app(app)

    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)
        raise ValueError("ours")

    assert run(ask(asgi)).status == 500


def test_background_tasks_live_on_the_servers_loop(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """``loop.spawn`` outlives its request; a coroutine called from a thread runs there, too."""
    meeting = Meeting()
    loops = []

    @app.get("/async")
    async def on_loop() -> str:
        concurrency.loop.spawn(meeting.wait())
        return ""

    @app.get("/sync")
    def on_thread() -> str:
        async def here() -> None:
            loops.append(asyncio.get_running_loop())

        concurrency.loop.run(here())
        return ""

    async def story() -> None:
        await ask(asgi, "/async")
        await meeting.reached.wait()
        assert concurrency.loop.snapshot().spawned == 1
        await ask(asgi, "/sync")
        assert loops == [asyncio.get_running_loop()]
        meeting.go_on.set()
        await until(lambda: not concurrency.loop.snapshot().spawned)

    run(story())


def test_a_scope_of_another_kind_is_refused(asgi: AsgiApplication, run: Run) -> None:
    """Servers find out so what is not served."""

    async def story() -> None:
        with pytest.raises(ValueError, match="'fax'"):
            await asgi({"type": "fax"}, None, None)  # type: ignore[arg-type]

    run(story())
