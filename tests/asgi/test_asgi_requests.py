"""What a request on ASGI has of its own, and what becomes of it when its client leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

import pytest
from flask import Flask, Response, g, request, session, stream_with_context
from flask.typing import ResponseReturnValue
from flask.views import MethodView

from asgi_exchange import Answer, Exchange, ask
from event_loops import until, until_idle
from flask_concurrency import Concurrency, InFlight
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]

LEAKED: ContextVar[str] = ContextVar("LEAKED", default="nothing")


class Meeting:
    """Where a coroutine waits for the test, and the test for it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def wait(self) -> None:
        """Be there, and wait."""
        self.reached.set()
        await self.go_on.wait()


@pytest.fixture
def ended(app: Flask) -> list[BaseException | None]:
    """With what each request was torn down."""
    endings: list[BaseException | None] = []
    app.teardown_request(endings.append)
    return endings


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


def test_a_client_that_leaves_cancels_the_view(
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    ended: list[BaseException | None],
    run: Run,
) -> None:
    """Its ``finally`` and an asynchronous teardown run; its permit comes back."""
    meeting = Meeting()
    done = []

    @app.get("/")
    @concurrency.limit("1 in flight")
    async def view() -> str:
        try:
            await meeting.wait()
        finally:
            await asyncio.sleep(0)
            done.append("finally")
        return "never"

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        await asyncio.sleep(0)
        done.append("teardown")

    @app.get("/free")
    @concurrency.limit("1 in flight")
    async def free() -> str:
        return "free"

    async def story() -> None:
        exchange = Exchange(asgi)
        await meeting.reached.wait()
        exchange.leave()
        answer = await exchange.end()
        assert answer.status == 0
        meeting.go_on.set()
        assert (await ask(asgi, "/")).text == "never"

    run(story())
    assert done == ["finally", "teardown"] * 2
    assert isinstance(ended[0], asyncio.CancelledError)
    assert ended[1] is None


def test_a_view_that_swallows_its_cancellation_ends_as_it_likes(
    app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """What it answers then is dropped."""
    meeting = Meeting()

    @app.get("/")
    async def view() -> str:
        try:
            await meeting.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "nobody reads this"

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await meeting.reached.wait()
        exchange.leave()
        return await exchange.end()

    assert run(story()).status == 0
    assert ended == [None]


def test_pitfall_12_a_server_may_cancel_a_request(
    app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """Its task ends as cancelled, and the request is torn down."""
    meeting = Meeting()

    @app.get("/")
    async def view() -> str:
        await meeting.wait()
        return ""

    async def story() -> None:
        exchange = Exchange(asgi)
        await meeting.reached.wait()
        exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.end()

    run(story())
    assert isinstance(ended[0], asyncio.CancelledError)


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_a_server_may_say_that_sending_is_in_vain(
    path: str, app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The stream is closed, and nothing else is made of it."""
    closed = []

    def parts() -> Iterator[str]:
        try:
            yield "a"
            yield "never"
        finally:
            closed.append("closed")

    @app.get("/async")
    async def on_loop() -> ResponseReturnValue:
        return Response(parts())

    @app.get("/sync")
    def on_thread() -> ResponseReturnValue:
        return Response(parts())

    class Gone(Exchange):
        async def _send(self, message: Any) -> None:
            raise OSError("gone")

    async def story() -> None:
        await Gone(asgi, path).end()

    run(story())
    assert closed == ["closed"]


def test_a_stream_that_is_closed_is_not_torn_out_of_that(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The server says the same twice: nothing can be sent, and the client has left."""
    closed: list[str] = []
    asked_again: list[str] = []
    exchanges: list[Exchange] = []

    @app.get("/")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            try:
                yield "a"
                asked_again.append("for what nobody will read")
            finally:
                exchanges[0].leave()
                await until(lambda: exchanges[0].left_heard)
                await until_idle()
                closed.append("closed")

        return Response(parts())  # type: ignore[arg-type]

    class Gone(Exchange):
        async def _send(self, message: Any) -> None:
            await until(lambda: self._receiving)  # the watch
            raise OSError("gone")

    async def story() -> None:
        exchanges.append(Gone(asgi))
        await exchanges[0].end()

    run(story())
    assert (closed, asked_again) == (["closed"], [])


@pytest.mark.parametrize("ending", ["client left", "server cancelled"])
def test_an_async_stream_of_a_request_on_a_thread_is_read_on_the_loop(
    ending: str, app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """It holds no thread, and ends at once when its client leaves, whatever it waits for."""
    closed = []

    @app.get("/")
    @concurrency.runs_on("threads")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            try:
                yield "a"
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                closed.append("closed")

        return Response(parts())  # type: ignore[arg-type]

    async def story() -> None:
        exchange = Exchange(asgi)
        await exchange.until_parts(1)
        await until(lambda: not concurrency.threads.snapshot().busy)  # it comes home a moment later
        if ending == "client left":
            exchange.leave()
            await exchange.end()
        else:
            exchange.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange.end()

    run(story())
    assert closed == ["closed"]


@pytest.mark.parametrize("kind", ["async", "sync", "mixed"])
def test_pitfall_11_a_stream_is_closed_once_when_its_client_leaves(
    kind: str,
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    run: Run,
) -> None:
    """Wherever it is read: its ``finally`` runs, and the permit comes back."""
    closed = []
    left = threading.Event()

    def parts() -> Iterator[str]:
        try:
            yield request.path
            assert left.wait(30)
            yield "dropped"
            yield "never"
        finally:
            closed.append(request.path)

    async def async_parts() -> AsyncIterator[str]:
        try:
            yield "/"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append("/")

    if kind == "async":

        async def view() -> ResponseReturnValue:
            return Response(async_parts())  # type: ignore[arg-type]
    elif kind == "mixed":

        async def view() -> ResponseReturnValue:
            return Response(stream_with_context(parts()))
    else:

        def view() -> ResponseReturnValue:  # type: ignore[misc]
            return Response(stream_with_context(parts()))

    app.add_url_rule("/", view_func=concurrency.limit("1 in flight", name="stream")(view))

    @app.get("/free")
    @concurrency.limit("1 in flight", name="stream")
    async def free() -> str:
        return "free"

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await exchange.until_parts(1)
        assert (await ask(asgi, "/free")).status == 503
        exchange.leave()
        await until(lambda: exchange.left_heard)
        left.set()
        answer = await exchange.end()
        assert (await ask(asgi, "/free")).status == 200
        return answer

    answer = run(story())
    assert answer.body == b"/"
    assert closed == ["/"]


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("ending", ["client left", "server cancelled"])
def test_a_generator_that_is_at_work_is_closed_after_its_step(
    events: bool,
    ending: str,
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    run: Run,
) -> None:
    """A plain one of an async view: a thread cannot be stopped, nor two be in one context."""
    at_work, go_on = threading.Event(), threading.Event()
    closed = []

    def parts() -> Iterator[str]:
        try:
            yield "first"
            at_work.set()
            assert go_on.wait(30)
            yield "dropped"
        finally:
            closed.append(request.path)

    @app.get("/")
    @concurrency.limit("1 in flight")
    async def view() -> ResponseReturnValue:
        source = stream_with_context(parts())
        return concurrency.event_stream(source, heartbeat=None) if events else Response(source)

    async def story() -> None:
        exchange = Exchange(asgi)
        await until(at_work.is_set)
        if ending == "client left":
            exchange.leave()
            await until(lambda: exchange.left_heard)
        else:
            exchange.task.cancel()
        for _ in range(5):  # what was sent to a thread before would have begun
            await asyncio.to_thread(threading.get_ident)
        assert not closed
        go_on.set()
        with nullcontext() if ending == "client left" else pytest.raises(asyncio.CancelledError):
            await exchange.end()
        assert (await ask(asgi)).status == 200

    run(story())
    assert closed == ["/", "/"]


def test_a_task_that_was_cancelled_is_an_error_of_its_view(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """Nobody cancelled the request, so it is answered, by the app's own handler, as on WSGI."""

    @app.errorhandler(CancelledError)
    def told(error: CancelledError) -> tuple[str, int]:
        return str(error), 500

    @app.get("/")
    async def view() -> str:
        task = asyncio.create_task(asyncio.Event().wait())
        await until_idle()
        task.cancel()
        await task
        return "never"

    answer = run(ask(asgi))
    response = app.test_client().get("/")
    assert (answer.status, answer.text) == (response.status_code, response.text)
    assert "was cancelled while it ran" in answer.text


def test_a_generator_that_raises_midway_closes_the_connection(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The status has gone out, so only an early end can tell."""

    @app.get("/<kind>")
    async def view(kind: str) -> ResponseReturnValue:
        async def later() -> AsyncIterator[str]:
            yield "a"
            raise ValueError("midway")

        def now() -> Iterator[str]:
            yield "a"
            raise ValueError("midway")

        return Response(later() if kind == "later" else now())  # type: ignore[arg-type]

    @app.get("/thread")
    def thread() -> ResponseReturnValue:
        def parts() -> Iterator[str]:
            yield "a"
            raise ValueError("midway")

        return Response(parts())

    async def story() -> None:
        for path in ("/later", "/now", "/thread"):
            exchange = Exchange(asgi, path)
            with pytest.raises(ValueError, match="midway"):
                await exchange.end()
            assert exchange.answer.body == b"a"
            assert not exchange.answer.complete

    run(story())


def test_async_generators_work_on_wsgi_as_well(app: Flask, concurrency: Concurrency) -> None:
    """Item by item, on the shared loop; bare, in a response, and with a status."""

    async def parts() -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    @app.get("/<kind>")
    async def view(kind: str) -> Any:
        return {"bare": parts(), "response": Response(parts()), "tuple": (parts(), 202)}[kind]  # type: ignore[arg-type]

    client = app.test_client()
    assert [client.get(f"/{kind}").text for kind in ("bare", "response", "tuple")] == ["ab"] * 3
    assert client.get("/tuple").status_code == 202


def test_a_body_comes_in_as_it_is_read(app: Flask, asgi: AsgiApplication, run: Run) -> None:
    """An async view reads plain ``request.stream``, and waits for it without blocking the loop."""

    @app.post("/")
    async def view() -> str:
        return " ".join(str(len(line)) for line in request.stream)

    async def story() -> Answer:
        exchange = Exchange(asgi, "/", "POST", body=None, fields=[("transfer-encoding", "chunked")])
        for piece in (b"ab", b"c\nde", b"f"):
            exchange.send(piece)
            await asyncio.sleep(0.001)
        exchange.send(b"", more=False)
        return await exchange.end()

    assert run(story()).text == "4 3"


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_half_a_body_is_no_body(
    path: str, app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """A client that leaves before its end has sent nothing that a view may take for whole."""
    read = []

    @app.post("/async")
    async def on_loop() -> str:
        read.append(request.get_data())
        return "never"

    @app.post("/sync")
    def on_thread() -> str:
        read.append(request.get_data())
        return "never"

    async def story() -> None:
        for fields in ([("content-length", "100000")], [("transfer-encoding", "chunked")]):
            exchange = Exchange(asgi, path, "POST", body=None, fields=fields)
            exchange.send(b"half")
            await asyncio.sleep(0.001)
            exchange.leave()
            await exchange.end()

    run(story())
    assert not read
    assert len(ended) <= 2


def test_a_slow_body_holds_no_thread(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """A short body is taken in before a thread is spent on its request."""

    @app.post("/")
    def view() -> bytes:
        return request.get_data()

    async def story() -> Answer:
        exchange = Exchange(asgi, "/", "POST", body=None, fields=[("content-length", "3")])
        for piece in (b"a", b"b"):
            exchange.send(piece)
            await asyncio.sleep(0.001)
        assert concurrency.threads.snapshot().busy == 0
        exchange.send(b"c", more=False)
        return await exchange.end()

    assert run(story()).text == "abc"


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
    """A waiting room on the loop lets other requests through, and wakes who waits."""
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


def test_a_thread_that_runs_on_answers_nobody(
    app: Flask, asgi: AsgiApplication, ended: list[BaseException | None], run: Run
) -> None:
    """A sync view cannot be stopped; what it says is dropped, and torn down as usual."""
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    def view() -> str:
        inside.set()
        assert leave.wait(30)
        return "nobody reads this"

    async def story() -> Answer:
        exchange = Exchange(asgi)
        await until(inside.is_set)
        exchange.leave()
        await until(lambda: exchange.left_heard)
        leave.set()
        return await exchange.end()

    assert run(story()).status == 0
    assert ended == [None]


def test_a_body_nobody_waits_for_any_more_is_closed(
    app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """The server cancelled the request while its view ran on a thread."""
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    @concurrency.runs_on("threads")
    @concurrency.limit("1 in flight")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[str]:
            yield "never"

        await asyncio.to_thread(inside.set)
        await asyncio.to_thread(leave.wait, 30)
        return Response(parts())  # type: ignore[arg-type]

    async def story() -> int:
        exchange = Exchange(asgi)
        await until(inside.is_set)
        exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.end()
        leave.set()
        await until(lambda: not concurrency.threads.snapshot().busy)
        again = Exchange(asgi)
        await again.until_parts(1)
        return again.answer.status

    assert run(story()) == 200


def test_a_body_that_comes_as_its_request_is_cancelled_is_closed(
    app: Flask,
    asgi: AsgiApplication,
    concurrency: Concurrency,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread had answered, and the loop had not heard of it."""
    inside, leave = threading.Event(), threading.Event()

    @app.get("/")
    @concurrency.limit(InFlight(1, max_queue=1, max_wait=30.0))
    def view() -> Response:
        async def parts() -> AsyncIterator[str]:
            yield "never"

        inside.set()
        assert leave.wait(30)
        return concurrency.event_stream(parts())

    async def story() -> int:
        exchange = Exchange(asgi)
        await until(inside.is_set)
        leave.set()
        while concurrency.threads.snapshot().busy:
            threading.Event().wait(0)
        exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.end()
        again = Exchange(asgi)  # which waits for the place of the other
        await again.until_parts(1)
        again.leave()
        await again.end()
        return again.answer.status

    assert run(story()) == 200
    assert not caplog.records
