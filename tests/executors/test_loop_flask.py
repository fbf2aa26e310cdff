"""A Flask application whose coroutines run on the loop, through Flask's own override point."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, Response, after_this_request, g, request, session, signals
from flask.typing import ResponseReturnValue

from flask_concurrency.executors.loop import LoopThread


@pytest.fixture
def app(loop: LoopThread) -> Flask:
    """An application that runs its coroutines on ``loop``."""
    app = Flask(__name__)
    app.secret_key = "not secret"
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.async_to_sync = loop.async_to_sync  # type: ignore[method-assign, assignment]
    return app


async def thread_name() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_a_view_sees_request_g_and_session(app: Flask) -> None:
    """What Flask keeps in context variables is there before and after an await."""

    @app.before_request
    def sign_in() -> None:
        g.user = "ada"

    @app.get("/<int:number>")
    async def view(number: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        session["seen"] = session.get("seen", 0) + number
        g.late = await thread_name()
        return {"path": request.path, "user": g.user, "seen": session["seen"]}

    @app.after_request
    def report(response: Response) -> Response:
        response.headers["X-Late"] = g.late
        return response

    client = app.test_client()
    client.get("/3")
    answer = client.get("/4")
    assert answer.json == {"path": "/4", "user": "ada", "seen": 7}
    assert answer.headers["X-Late"] == "concurrency-loop"


def test_after_this_request_works(app: Flask) -> None:
    """A callback registered on the loop runs when the response is made."""

    @app.get("/")
    async def view() -> str:
        await asyncio.sleep(0)

        @after_this_request
        def add(response: Response) -> Response:
            response.headers["X-Added"] = "yes"
            return response

        return "ok"

    assert app.test_client().get("/").headers["X-Added"] == "yes"


def test_hooks_error_handlers_and_teardown_run_on_the_loop(app: Flask) -> None:
    """Every kind of callback shares the one loop thread."""
    ran: dict[str, str] = {}

    @app.before_request
    async def before() -> None:
        ran["before"] = await thread_name()

    @app.get("/")
    async def view() -> str:
        ran["view"] = await thread_name()
        raise LookupError("for the handler")

    @app.errorhandler(LookupError)
    async def handle(error: LookupError) -> ResponseReturnValue:
        ran["errorhandler"] = await thread_name()
        return str(error), 418

    @app.after_request
    async def after(response: Response) -> Response:
        ran["after"] = await thread_name()
        return response

    @app.teardown_request
    async def teardown(_: BaseException | None) -> None:
        ran["teardown"] = await thread_name()

    @app.teardown_appcontext
    async def teardown_app(_: BaseException | None) -> None:
        ran["teardown_appcontext"] = await thread_name()

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (418, "for the handler")
    assert set(ran) == {
        "before", "view", "errorhandler", "after", "teardown", "teardown_appcontext"
    }  # fmt: skip
    assert set(ran.values()) == {"concurrency-loop"}


def test_an_asynchronous_signal_receiver_runs_on_the_loop(app: Flask) -> None:
    """Flask hands ``async_to_sync`` to blinker for receivers, too."""
    names: list[str] = []

    async def receive(sender: Flask, **_: Any) -> None:
        names.append(await thread_name())

    @app.get("/")
    def view() -> str:
        return "ok"

    with signals.request_started.connected_to(receive, app):
        app.test_client().get("/")
    assert names == ["concurrency-loop"]


def test_an_unhandled_exception_is_answered_with_500(app: Flask) -> None:
    """An error of an asynchronous view is an error like any other."""

    @app.get("/")
    async def view() -> str:
        raise LookupError

    assert app.test_client().get("/").status_code == 500


def test_pitfall_12_a_cancelled_view_is_answered_and_torn_down(app: Flask) -> None:
    """A cancellation passes by no error handler: 500, and teardown sees the exception."""
    seen: list[BaseException | None] = []

    @app.get("/")
    async def view() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return "never"

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        seen.append(error)

    assert app.test_client().get("/").status_code == 500
    assert len(seen) == 1


def test_twenty_concurrent_requests_keep_their_own_request(app: Flask, loop: LoopThread) -> None:
    """All twenty are in the view at once; each answers with its own number."""

    async def make() -> asyncio.Barrier:
        return asyncio.Barrier(20)

    barrier = loop.run(make())

    @app.get("/<number>")
    async def view(number: str) -> str:
        g.number = request.path
        await barrier.wait()
        return f"{number} {g.number} {request.path}"

    def ask(number: int) -> str:
        return app.test_client().get(f"/{number}").text

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert answers == [f"{n} /{n} /{n}" for n in range(20)]


def test_task_groups_in_a_view_see_the_request(app: Flask) -> None:
    """Children that a view starts on the loop share its request."""

    @app.get("/")
    async def view() -> str:
        async def child() -> str:
            await asyncio.sleep(0)
            return request.path

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child()) for _ in range(3)]
        return "".join(task.result() for task in tasks)

    assert app.test_client().get("/").text == "///"
