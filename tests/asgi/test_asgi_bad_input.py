"""Servers and clients that do not keep to the rules meet a clean end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

import pytest
from flask import Flask, request

from asgi_exchange import Answer, Exchange, ask
from event_loops import until, until_idle
from flask_concurrency import Concurrency
from flask_concurrency.asgi.disconnect_watch import DisconnectWatch
from flask_concurrency.asgi.inbox import READ_AHEAD, Inbox
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Echo = Callable[[Flask], None]


def saying(*messages: dict[str, Any]) -> Callable[[], Coroutine[Any, Any, dict[str, Any]]]:
    """A server's ``receive`` that says these, and then nothing."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_message_of_another_kind_is_named(run: Run) -> None:
    """A server that sends it has a fault, and its author should read which."""
    inbox = Inbox(saying({"type": "http.fax"}))
    with pytest.raises(RuntimeError, match=r"'http\.fax'"):
        run(inbox.piece())


def test_messages_may_leave_out_what_has_a_default(run: Run) -> None:
    """Neither a body nor whether there is more need be said."""
    inbox = Inbox(saying({"type": "http.request"}))
    assert run(inbox.piece()) == b""
    assert inbox.ended


def test_empty_messages_are_no_end(run: Run) -> None:
    """Only the last message is."""
    inbox = Inbox(saying(part(b"", more=True), part(b"a", more=True), part(b"", more=False)))

    async def story() -> list[bytes | None]:
        return [await inbox.piece(), await inbox.piece(), await inbox.piece()]

    assert run(story()) == [b"a", b"", b""]


def test_a_watch_takes_in_only_so_much(run: Run) -> None:
    """A view that does not read the body slows its sender down and leaves our memory alone."""
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        await asyncio.sleep(0)
        return part(b"x" * 1024, more=True)

    inbox = Inbox(receive)

    async def story() -> None:
        watch = asyncio.create_task(inbox.until_ended())
        await until_idle()
        assert received == READ_AHEAD // 1024
        await inbox.piece()
        await until_idle()
        assert received == READ_AHEAD // 1024 + 1
        watch.cancel()
        await asyncio.wait([watch])

    run(story())


def test_a_server_that_goes_on_after_the_end_is_watched_no_longer(run: Run) -> None:
    """Its messages could never show a disconnect, and would keep the loop busy for ever."""

    async def receive() -> dict[str, Any]:
        return part(b"", more=False)

    async def story() -> bool:
        own = asyncio.current_task()
        assert own is not None
        watch = DisconnectWatch(Inbox(receive), own)
        watch.begin(Context())
        await until_idle()
        return watch.acted

    assert run(story()) is False


def test_a_receive_that_fails_ends_the_watch_alone(
    app: Flask, concurrency: Concurrency, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer goes out all the same."""
    asgi = concurrency.asgi_app(app)

    @app.get("/")
    async def view() -> str:
        await until_idle()
        return "answered"

    class Broken(Exchange):
        async def _receive(self) -> dict[str, Any]:
            raise OSError("the connection broke")

    async def story() -> Answer:
        return await Broken(asgi).end()

    assert run(story()).text == "answered"
    assert "cannot tell" in caplog.text


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_what_follows_the_declared_body_is_no_part_of_it(
    path: str, app: Flask, asgi: AsgiApplication, run: Run, echo_bodies: Echo
) -> None:
    """A request that follows in the same stream is not to be read as a body."""

    echo_bodies(app)

    fields = [("content-length", "3")]
    assert run(ask(asgi, path, "POST", body=b"abcdef", fields=fields)).body == b"abc"


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_a_chunked_body_is_as_long_as_it_comes(
    path: str, app: Flask, asgi: AsgiApplication, run: Run, echo_bodies: Echo
) -> None:
    """Whatever length a client declares beside: half a body would be taken for a whole one."""

    echo_bodies(app)

    fields = [("content-length", "3"), ("transfer-encoding", "chunked")]
    assert run(ask(asgi, path, "POST", body=b"abcdef", fields=fields)).body == b"abcdef"


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "\xb2", ""])
def test_a_length_that_is_none_is_not_believed(
    length: str, app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """The server reads nothing and does not wait."""

    @app.post("/")
    def view() -> bytes:
        return request.get_data()

    answer = run(ask(asgi, "/", "POST", body=b"abc", fields=[("content-length", length)]))
    assert answer.status == 200
    assert answer.body == b""


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_header_fields_that_http_cannot_carry_are_an_error_before_any_byte(
    path: str, app: Flask, asgi: AsgiApplication, run: Run
) -> None:
    """Nothing of a broken answer goes out."""

    @app.get("/async")
    async def on_loop() -> tuple[str, dict[str, str]]:
        return "", {"X-Odd": "你"}

    @app.get("/sync")
    def on_thread() -> tuple[str, dict[str, str]]:
        return "", {"X-Odd": "你"}

    async def story() -> Exchange:
        exchange = Exchange(asgi, path)
        with pytest.raises(UnicodeEncodeError):
            await exchange.end()
        return exchange

    assert run(story()).answer.status == 0


def test_a_server_ends_with_its_background_tasks(
    app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """The lifespan's end lets them finish, while a server without one is served as well."""
    said = []
    finished: list[str] = []
    ending = threading.Event()
    app.extensions["concurrency"].drain.call(ending.set)

    async def background() -> None:
        await until(ending.is_set)
        finished.append("background")

    def on_a_thread() -> None:
        assert ending.wait(30)
        finished.append("thread")

    @app.get("/")
    async def view() -> str:
        concurrency.loop.spawn(background())
        concurrency.threads.spawn(on_a_thread)
        return "spawned"

    async def send(message: Any) -> None:
        said.append(message["type"])

    async def story() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        lifespan = asyncio.ensure_future(asgi({"type": "lifespan"}, messages.get, send))
        messages.put_nowait({"type": "lifespan.startup"})
        assert (await ask(asgi)).text == "spawned"
        messages.put_nowait({"type": "lifespan.shutdown"})
        await lifespan

    run(story())
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert sorted(finished) == ["background", "thread"]


def test_a_lifespan_of_another_kind_is_named(asgi: AsgiApplication, run: Run) -> None:
    """As with requests."""

    async def story() -> None:
        with pytest.raises(RuntimeError, match=r"lifespan\.pause"):
            await asgi({"type": "lifespan"}, saying({"type": "lifespan.pause"}), None)  # type: ignore[arg-type]

    run(story())


@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_more_than_may_come_is_refused_unread(path: str, run: Run, echo_bodies: Echo) -> None:
    """A declared body that is too large is 413 before a byte of it came."""
    app = Flask("small")
    app.config["MAX_CONTENT_LENGTH"] = 10
    concurrency = Concurrency(app, store="memory://")
    asgi = concurrency.asgi_app(app)

    echo_bodies(app)

    async def story() -> int:
        exchange = Exchange(asgi, path, "POST", body=None, fields=[("content-length", "11")])
        return (await exchange.end()).status

    assert run(story()) == 413
    concurrency.threads.shutdown()
    assert concurrency.loop.shutdown()
