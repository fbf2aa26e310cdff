"""Plain code that runs on a loop of requests waits for tasks without holding the loop up."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, g, request
from flask.typing import ResponseReturnValue

from asgi_exchange import ask
from event_loops import until, until_idle
from flask_concurrency import Concurrency, InFlight, LoopBlocked, QuotaExceeded
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Wait = Callable[[Concurrency, Callable[[], str]], object]

WAITS: dict[str, Wait] = {
    "result": lambda concurrency, fn: concurrency.threads.submit(fn).result(30),
    "exception": lambda concurrency, fn: concurrency.threads.submit(fn).exception(),
    "spawn": lambda concurrency, fn: concurrency.threads.spawn(fn).result(),
    "map": lambda concurrency, fn: list(concurrency.threads.map(lambda _: fn(), [1])),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("place", ["hook", "view"])
def test_a_task_may_need_what_another_request_does(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run, wait: Wait, place: str
) -> None:
    """A hook, or code that an async view calls, waits for a thread; the loop answers meanwhile."""
    met = threading.Event()

    def meet() -> str:
        return str(met.wait(30))

    @app.before_request
    def look_up() -> None:
        if request.path == "/first" and place == "hook":
            g.found = wait(concurrency, meet)

    @app.get("/first")
    async def first() -> ResponseReturnValue:
        if place == "view":
            g.found = wait(concurrency, meet)
        return str(g.found)

    @app.get("/second")
    async def second() -> ResponseReturnValue:
        met.set()
        return "second"

    async def story() -> list[str]:
        one = asyncio.create_task(ask(asgi, "/first"))
        await until_idle()
        two = await ask(asgi, "/second")
        return [(await one).text, two.text]

    found, second_answer = run(story())

    assert found in ("True", "None", "['True']")
    assert second_answer == "second"


def test_a_wait_ends_with_its_timeout(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """And leaves the task as it is."""
    go_on = threading.Event()

    @app.get("/")
    async def view() -> ResponseReturnValue:
        future = concurrency.threads.submit(go_on.wait, 30)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.001)
        go_on.set()
        return str(future.result())

    assert run(ask(asgi, "/")).text == "True"


def test_a_client_that_leaves_ends_the_wait_and_not_the_task(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """As an interrupted wait does anywhere."""
    go_on = threading.Event()
    waiting = asyncio.Event()
    futures: list[Future[bool]] = []
    ended: list[type[BaseException] | None] = []

    @app.teardown_request
    def look(error: BaseException | None) -> None:
        ended.append(type(error) if error is not None else None)

    @app.get("/")
    async def view() -> ResponseReturnValue:
        futures.append(concurrency.threads.submit(go_on.wait, 30))
        waiting.set()
        return str(futures[0].result())

    async def story() -> None:
        request_of_one_that_leaves = asyncio.create_task(ask(asgi, "/"))
        await waiting.wait()
        request_of_one_that_leaves.cancel()
        await asyncio.wait([request_of_one_that_leaves])
        go_on.set()
        assert await asyncio.wrap_future(futures[0])

    run(story())

    assert ended == [asyncio.CancelledError]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["result", "map"])
def test_a_process_may_need_what_another_request_does(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run, tmp_path: Path, how: str
) -> None:
    """A pipe stands between the two: it is read in a process, and written by a request."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    @app.before_request
    def look_up() -> None:
        if request.path == "/first" and how == "result":
            g.found = concurrency.processes.submit(pipe.read_text).result(30)
        elif request.path == "/first":
            (g.found,) = concurrency.processes.map(Path.read_text, [pipe])

    @app.get("/first")
    async def first() -> ResponseReturnValue:
        return str(g.found)

    @app.get("/second")
    def second() -> ResponseReturnValue:
        return str(pipe.write_text("met"))

    async def story() -> list[str]:
        one = asyncio.create_task(ask(asgi, "/first"))
        await until_idle()
        two = await ask(asgi, "/second")
        return [(await one).text, two.text]

    try:
        assert run(story()) == ["met", "3"]
    finally:
        concurrency.processes.shutdown()


def test_a_task_of_the_view_must_await(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """It has no stack of its own that could be suspended: waiting there would block the loop."""
    go_on = threading.Event()

    async def child() -> str:
        with pytest.raises(LoopBlocked, match=r"await asyncio\.wrap_future"):
            concurrency.threads.submit(go_on.wait, 30).result()
        go_on.set()
        return "refused"

    @app.get("/")
    async def view() -> ResponseReturnValue:
        return await asyncio.create_task(child())

    assert run(ask(asgi, "/")).text == "refused"


def test_pitfall_21_a_view_on_the_shared_loop_waits_and_others_go_on(
    app: Flask, concurrency: Concurrency
) -> None:
    """On WSGI, too: two async views may need each other, or one permit of a limit."""
    met = threading.Event()
    waits = threading.Event()

    def meet() -> bool:
        waits.set()
        return met.wait(30)

    @app.get("/first")
    async def first() -> ResponseReturnValue:
        return str(concurrency.threads.submit(meet).result())

    @app.get("/second")
    async def second() -> ResponseReturnValue:
        met.set()
        return "second"

    with ThreadPoolExecutor(1) as server:
        one = server.submit(app.test_client().get, "/first")
        assert waits.wait(30)
        assert app.test_client().get("/second").text == "second"
        assert one.result(30).text == "True"


def test_views_on_the_shared_loop_take_turns(app: Flask, concurrency: Concurrency) -> None:
    """A view that waits for a permit in a block does not stop the one that has it."""
    inside: list[int] = []

    @app.get("/")
    async def view() -> ResponseReturnValue:
        with concurrency.limit(InFlight(1, max_queue=3, max_wait=30.0), name="turns"):
            inside.append(len(inside))
            await asyncio.sleep(0)
        return "came through"

    with ThreadPoolExecutor(3) as server:
        answers = [server.submit(app.test_client().get, "/") for _ in range(3)]
        assert [answer.result(30).text for answer in answers] == ["came through"] * 3
    assert inside == [0, 1, 2]


Ask = Callable[[str], str]


@pytest.fixture(params=["WSGI", "ASGI"])
def asked(request: pytest.FixtureRequest, app: Flask) -> Ask:
    """Gives the text of an answer, by either interface."""
    if request.param == "WSGI":
        return lambda path: app.test_client().get(path).text
    run, asgi = request.getfixturevalue("run"), request.getfixturevalue("asgi")
    return lambda path: str(run(ask(asgi, path)).text)


def test_tasks_of_a_view_take_turns(app: Flask, concurrency: Concurrency, asked: Ask) -> None:
    """With ``async with``; the view itself may do so, too, and sees the decisions of its tasks."""
    inside: list[int] = []

    async def child() -> None:
        async with concurrency.limit(InFlight(1, max_queue=3, max_wait=30.0), name="turns"):
            inside.append(1)
            await asyncio.sleep(0)
            assert sum(inside) == 1
            inside.append(-1)

    @app.get("/")
    async def view() -> ResponseReturnValue:
        async with concurrency.limit("1/day", name="once"):
            await asyncio.gather(child(), child(), child())
        with pytest.raises(QuotaExceeded):
            async with concurrency.limit("1/day", name="once"):
                pytest.fail("entered twice")
        return "came through"

    assert asked("/") == "came through"
    assert inside == [1, -1] * 3


def test_a_task_of_a_view_does_not_stop_the_loop_for_a_place(
    app: Flask, concurrency: Concurrency, asked: Ask
) -> None:
    """The error says what to write; where there is a permit, it need not wait."""
    turns = concurrency.limit(InFlight(1, max_queue=3, max_wait=30.0), name="turns")

    async def child() -> str:
        with pytest.raises(LoopBlocked, match="async with"), turns:
            pytest.fail("entered")
        return "refused"

    @app.get("/")
    async def view() -> ResponseReturnValue:
        with turns:
            return await asyncio.create_task(child())

    assert asked("/") == "refused"


def test_a_task_that_is_cancelled_waits_no_longer(
    app: Flask, concurrency: Concurrency, asked: Ask
) -> None:
    """Its seat is free for the next waiter at once."""
    turns = concurrency.limit(InFlight(1, max_queue=1, max_wait=30.0), name="turns")
    rooms = app.extensions["concurrency"].rooms

    async def child() -> None:
        async with turns:
            pytest.fail("entered")

    @app.get("/")
    async def view() -> ResponseReturnValue:
        async with turns:
            for _ in range(2):
                task = asyncio.create_task(child())
                await until(lambda: len(rooms))
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
                assert not len(rooms)
        return "alone"

    assert asked("/") == "alone"


def test_who_waits_on_the_shared_loop_still_holds_a_thread_of_the_server() -> None:
    """So it waits only if the server has threads left that refuse, and answer health checks."""
    app = Flask("busy")
    app.config["CONCURRENCY_SERVER_THREADS"] = 2
    concurrency = Concurrency(app)
    inside, go_on = threading.Event(), threading.Event()

    @app.get("/")
    async def view() -> ResponseReturnValue:
        with concurrency.limit(InFlight(1, max_queue=3, max_wait=30.0), name="turns"):
            inside.set()
            await concurrency.threads.run(go_on.wait, 30)
        return "came through"

    with ThreadPoolExecutor(1) as server:
        first = server.submit(app.test_client().get, "/")
        assert inside.wait(30)
        assert app.test_client().get("/").status_code == 503
        go_on.set()
        assert first.result(30).status_code == 200
    concurrency.threads.shutdown()
    assert concurrency.loop.shutdown()


def test_pitfall_21_a_task_of_a_view_on_the_shared_loop_must_await(
    app: Flask, concurrency: Concurrency
) -> None:
    """It would make all async views of the process wait, for ever if they need it."""
    go_on = threading.Event()

    async def child() -> str:
        future = concurrency.threads.submit(go_on.wait, 30)
        with pytest.raises(LoopBlocked, match=r"await concurrency\.threads\.run"):
            future.exception()
        go_on.set()
        ended = await asyncio.wrap_future(future)
        return str(ended)

    @app.get("/")
    async def view() -> ResponseReturnValue:
        return await asyncio.create_task(child())

    assert app.test_client().get("/").text == "True"


def test_what_is_done_is_there_at_once_on_any_loop(app: Flask, concurrency: Concurrency) -> None:
    """A finished future is read without waiting."""

    @app.get("/")
    async def view() -> ResponseReturnValue:
        future = concurrency.threads.submit(str, 1)
        await asyncio.wrap_future(future)
        return f"{future.result()} {future.exception()}"

    assert app.test_client().get("/").text == "1 None"


def test_a_loop_that_serves_nobody_may_be_blocked(concurrency: Concurrency) -> None:
    """A script with a loop of its own finds what ``concurrent.futures`` promises."""

    async def script() -> str:
        return concurrency.threads.submit(str, 1).result()

    assert asyncio.run(script()) == "1"
