"""Clients that send too much or read too slowly, and servers that end amid all of that."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from flask import Flask, Response, g, request
from flask.typing import ResponseReturnValue

from asgi_exchange import Answer, Exchange, ask
from event_loops import until, until_idle
from flask_concurrency import Concurrency, InFlight
from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.engine.snapshot import look

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Echo = Callable[[Flask], None]


class SlowReader(Exchange):
    """A client that takes the parts of a body only on command.

    :ivar offered: Parts that were sent or are held up.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        self.takes = asyncio.Semaphore(0)
        self.offered = 0
        super().__init__(*given, **options)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            self.offered += 1
            await self.takes.acquire()
        await super()._send(message)


@pytest.mark.parametrize("path", ["/async", "/sync"])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([b"four", b"four", b"four", b"four"], 413),
        ([b"five!", b"five!", b"!"], 413),
        ([b"far more than ten"], 413),
        ([b"five!", b"five!", None], 200),
        ([b"four", b"four", None], 200),
        ([None], 200),
    ],
)
def test_a_chunked_body_that_grows_too_large_is_refused(
    path: str,
    sent: list[bytes | None],
    status: int,
    app: Flask,
    asgi: AsgiApplication,
    run: Run,
    echo_bodies: Echo,
) -> None:
    """Its length was never declared, so reading it shows; what fits is read whole."""
    app.config["MAX_CONTENT_LENGTH"] = 10

    echo_bodies(app)

    async def story() -> Answer:
        fields = [("transfer-encoding", "chunked")]
        exchange = Exchange(asgi, path, "POST", body=None, fields=fields)
        for piece in sent:
            exchange.send(piece or b"", more=piece is not None)
        return await exchange.end()

    answer = run(story())
    assert answer.status == status
    if status == 200:
        assert answer.body == b"".join(filter(None, sent))


def test_a_view_may_choose_how_much_it_reads(app: Flask, asgi: AsgiApplication, run: Run) -> None:
    """By ``request.max_content_length``, as on WSGI."""
    app.config["MAX_CONTENT_LENGTH"] = 10

    @app.post("/")
    async def view() -> bytes:
        request.max_content_length = 20
        return request.get_data()

    async def story() -> list[int]:
        statuses = []
        for size in (20, 21):
            fields = [("transfer-encoding", "chunked")]
            exchange = Exchange(asgi, "/", "POST", body=None, fields=fields)
            exchange.send(b"x" * size)
            exchange.send(b"", more=False)
            statuses.append((await exchange.end()).status)
        return statuses

    assert run(story()) == [200, 413]


@pytest.mark.parametrize("kind", ["async", "sync", "plain-view"])
def test_no_more_is_made_than_a_slow_client_takes(
    kind: str, app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """And when it leaves, whatever it was sent is closed."""
    made: list[int] = []
    closed: list[str] = []

    def parts() -> Iterator[bytes]:
        try:
            for number in range(1_000):
                made.append(number)
                yield b"x"
        finally:
            closed.append("closed")

    async def async_parts() -> AsyncIterator[bytes]:
        try:
            for number in range(1_000):
                made.append(number)
                yield b"x"
        finally:
            closed.append("closed")

    @app.get("/async")
    async def on_loop() -> ResponseReturnValue:
        return Response(async_parts())  # type: ignore[arg-type]

    @app.get("/sync")
    async def mixed() -> ResponseReturnValue:
        return Response(parts())

    @app.get("/plain-view")
    def on_thread() -> ResponseReturnValue:
        return Response(parts())

    async def story() -> None:
        client = SlowReader(asgi, f"/{kind}")
        for taken in range(1, 6):
            client.takes.release()
            await client.until_parts(taken)
            await until_idle()
            assert taken <= len(made) <= taken + 2
        client.leave()
        client.takes.release()  # the server drops what cannot be sent
        await client.end()

    run(story())
    assert len(made) < 1_000
    assert closed == ["closed"]


@pytest.mark.parametrize("ending", ["client left", "server cancelled"])
def test_a_thread_does_not_wait_to_send_to_who_is_not_there(
    ending: str, app: Flask, asgi: AsgiApplication, concurrency: Concurrency, run: Run
) -> None:
    """Some servers never say that nothing can be sent any more."""
    closed: list[str] = []

    @app.get("/")
    def view() -> ResponseReturnValue:
        def parts() -> Iterator[bytes]:
            try:
                for _ in range(1_000):
                    yield b"x"
            finally:
                closed.append("closed")

        return Response(parts())

    async def story() -> Answer:
        client = SlowReader(asgi)
        client.takes.release()
        await until(lambda: client.offered >= 2)
        if ending == "client left":
            client.leave()
            await client.end()
        else:
            client.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client.end()
        await until(lambda: not concurrency.threads.snapshot().busy)
        return client.answer

    answer = run(story())
    assert (answer.body, answer.complete) == (b"x", False)
    assert closed == ["closed"]


def test_who_only_sends_hears_that_nobody_reads(
    app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """Even where neither the generator nor the server ever waits."""
    made: list[int] = []

    @app.get("/")
    async def view() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(100_000):
                made.append(number)
                yield b"x"

        return Response(parts())  # type: ignore[arg-type]

    async def story() -> None:
        client = Exchange(asgi)
        await client.until_parts(1)
        client.leave()
        await client.end()

    run(story())
    assert 1 <= len(made) < 100_000


@pytest.fixture
def counts() -> Counter[str]:
    """What became of requests."""
    return Counter()


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What blocks in threads waits for it."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def busy_app(counts: Counter[str], go_on: threading.Event) -> Iterator[Flask]:
    """An app with a view for each way to hold a server up."""
    app = Flask("busy")
    app.testing = True
    concurrency = Concurrency(app, app_limits=InFlight(50), store="memory://")

    @app.before_request
    def hook() -> None:
        counts[f"begun {request.path}"] += 1
        counts["begun"] += 1
        if request.path == "/hook":
            concurrency.threads.submit(go_on.wait, 30).result()

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        assert not g.get("torn_down")
        g.torn_down = True
        counts["torn down"] += 1

    @app.post("/half")
    async def half() -> bytes:
        return request.get_data()

    @app.get("/slow")
    async def slow() -> ResponseReturnValue:
        def parts() -> Iterator[bytes]:
            for _ in range(1_000):
                yield b"x"

        return Response(parts())

    @app.get("/midway")
    async def midway() -> ResponseReturnValue:
        async def parts() -> AsyncIterator[bytes]:
            yield b"x"
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("midway")

        return Response(parts())  # type: ignore[arg-type]

    @app.get("/stubborn")
    async def stubborn() -> str:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                counts["swallowed"] += 1
                break
        return "nobody reads this"

    @app.get("/hook")
    async def after_the_hook() -> str:
        return "it let us through"

    @app.get("/thread")
    def thread() -> str:
        go_on.wait(30)
        return "late"

    yield app
    concurrency.threads.shutdown()
    assert concurrency.loop.shutdown()


@pytest.mark.parametrize("end", ["leave", "cancel"])
def test_a_shutdown_amid_bad_requests_leaves_nothing(
    busy_app: Flask, counts: Counter[str], go_on: threading.Event, run: Run, end: str
) -> None:
    """Each is torn down once, and returns its permit, be it left or cancelled by its server."""
    concurrency: Concurrency = busy_app.extensions["concurrency"].owner
    asgi = concurrency.asgi_app(busy_app)
    said: list[str] = []

    async def send(message: Any) -> None:
        said.append(message["type"])

    async def story() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        lifespan = asyncio.ensure_future(asgi({"type": "lifespan"}, messages.get, send))
        messages.put_nowait({"type": "lifespan.startup"})
        half = Exchange(asgi, "/half", "POST", body=None, fields=[("content-length", "9")])
        half.send(b"half")
        slow = SlowReader(asgi, "/slow")
        slow.takes.release()
        midway = Exchange(asgi, "/midway")
        requests = [half, slow, midway]
        requests += [Exchange(asgi, path) for path in ("/stubborn", "/hook", "/thread")]
        await slow.until_parts(1)
        await midway.until_parts(1)
        await until(lambda: counts["begun"] >= 6)
        messages.put_nowait({"type": "lifespan.shutdown"})
        for each in requests:
            if end == "leave":
                each.leave()
            else:
                each.task.cancel()
        slow.takes.release()
        go_on.set()
        await asyncio.wait([each.task for each in requests])
        for each in requests:
            if not each.task.cancelled():
                each.task.exception()  # what the server would log
        await lifespan

    run(story())

    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert counts["begun"] == counts["torn down"] == 6
    assert counts["swallowed"] == 1
    assert concurrency.threads.snapshot().busy == 0
    state = busy_app.extensions["concurrency"]
    assert {limit.used for limit in look(state.limiters(busy_app), state.store, key=None)} == {0}


def test_a_server_may_end_while_requests_are_answered(
    busy_app: Flask, go_on: threading.Event, run: Run
) -> None:
    """What came before is answered whole."""
    concurrency: Concurrency = busy_app.extensions["concurrency"].owner
    asgi = concurrency.asgi_app(busy_app)

    async def story() -> list[str]:
        late = Exchange(asgi, "/thread")
        await until(lambda: concurrency.threads.snapshot().busy)
        busy_app.extensions["concurrency"].drain.begin()
        go_on.set()
        return [(await late.end()).text, (await ask(asgi, "/hook")).text]

    assert run(story()) == ["late", "it let us through"]
