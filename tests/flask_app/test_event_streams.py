"""A view answers with events; the stream holds its permit to the end, and ends with the server."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from flask import Flask, request

from flask_concurrency import Concurrency, Event, InFlight
from flask_concurrency.streams.server_sent_events import HEARTBEAT


@pytest.fixture
def app() -> Flask:
    """An app under test."""
    app = Flask(__name__)
    app.testing = True
    return app


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    """The extension, without limits."""
    return Concurrency(app)


def ticks() -> Iterator[Any]:
    yield "one"
    yield Event({"n": 2}, event="tick", id="2")


async def async_ticks() -> AsyncIterator[Any]:
    for tick in ticks():
        yield tick


SENT = HEARTBEAT + b'data: one\n\nevent: tick\nid: 2\ndata: {"n": 2}\n\n'


@pytest.mark.parametrize("source", [ticks, async_ticks])
@pytest.mark.parametrize("heartbeat", [15.0, None])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_view_answers_with_events(
    app: Flask, concurrency: Concurrency, source: Any, heartbeat: float | None, asynchronous: bool
) -> None:
    """Whatever kind of view and whatever kind of generator; nothing in between keeps them back."""

    def view() -> Any:
        return concurrency.event_stream(source(), heartbeat=heartbeat)

    async def async_view() -> Any:
        return view()

    app.add_url_rule("/", view_func=async_view if asynchronous else view)
    answer = app.test_client().get("/")
    assert answer.data == SENT
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"


def test_a_function_is_told_where_the_client_was_cut_off(
    app: Flask, concurrency: Concurrency
) -> None:
    """The browser sends the ``id`` of the last event it got."""

    @app.get("/")
    def view() -> Any:
        return concurrency.event_stream(lambda last: iter([f"after {last}"]))

    client = app.test_client()
    assert b"data: after None\n" in client.get("/").data
    assert b"data: after 41\n" in client.get("/", headers={"Last-Event-ID": "41"}).data


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_source_sees_the_request(
    app: Flask, concurrency: Concurrency, asynchronous: bool
) -> None:
    """Though the view has answered long before."""

    def plain() -> Iterator[str]:
        yield request.args["q"]

    async def asynchronously() -> AsyncIterator[str]:
        yield request.args["q"]

    @app.get("/")
    def view() -> Any:
        return concurrency.event_stream(asynchronously() if asynchronous else plain())

    assert b"data: x\n" in app.test_client().get("/?q=x").data


def test_a_stream_holds_its_place_to_the_end(app: Flask, concurrency: Concurrency) -> None:
    """And gives it back when its reader leaves."""
    ended = threading.Event()

    @app.get("/")
    @concurrency.limit(InFlight(1))
    def view() -> Any:
        async def source() -> AsyncIterator[str]:
            try:
                while True:
                    yield "again"
            finally:
                ended.set()

        return concurrency.event_stream(source())

    client = app.test_client()
    held = client.get("/", buffered=False)
    chunks = iter(held.response)
    assert [next(chunks), next(chunks)] == [HEARTBEAT, b"data: again\n\n"]
    assert client.get("/").status_code == 503
    held.close()
    assert ended.wait(30)
    with client.get("/", buffered=False) as again:
        assert again.status_code == 200


@pytest.mark.parametrize("asynchronous", [False, True])
def test_streams_end_when_the_server_is_told_to_end(
    app: Flask, concurrency: Concurrency, asynchronous: bool
) -> None:
    """It would wait for them for ever: a source that is silent does not keep it."""
    silent = threading.Event()

    def plain() -> Iterator[str]:
        silent.wait(30)
        yield "too late"

    async def asynchronously() -> AsyncIterator[str]:
        await concurrency.threads.run(silent.wait, 30)
        yield "too late"

    @app.get("/")
    def view() -> Any:
        return concurrency.event_stream(asynchronously() if asynchronous else plain())

    held = app.test_client().get("/", buffered=False)
    chunks = iter(held.response)
    assert next(chunks) == HEARTBEAT
    app.extensions["concurrency"].drain.begin()
    assert list(chunks) == []
    silent.set()


@pytest.mark.parametrize("source", ["text", b"bytes", {"a": 1}, 7])
def test_what_gives_no_events_is_refused(app: Flask, concurrency: Concurrency, source: Any) -> None:
    """Text would go out letter by letter."""
    with app.test_request_context(), pytest.raises(TypeError, match="give a generator of events"):
        concurrency.event_stream(source)


@pytest.mark.parametrize("heartbeat", [0, -1.0, float("inf")])
def test_a_heartbeat_that_is_no_time_is_refused(
    app: Flask, concurrency: Concurrency, heartbeat: float
) -> None:
    """The message shows the value and how to have none."""
    with app.test_request_context(), pytest.raises(ValueError, match=r"heartbeat=.*None for none"):
        concurrency.event_stream(iter([]), heartbeat=heartbeat)
