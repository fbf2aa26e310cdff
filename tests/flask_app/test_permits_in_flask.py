"""In-flight limits through real requests: never too many inside, and every permit comes back."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, send_file

from flask_concurrency import Concurrency, InFlight
from flask_concurrency.flask_app.middleware import TAKEN_AT_ONCE


class Inside:
    """Views that wait until told, and know how many of them run."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.lock = threading.Lock()
        self.full = threading.Semaphore(0)
        self.leave = threading.Event()

    def __call__(self) -> str:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.full.release()
        self.leave.wait(10)
        with self.lock:
            self.now -= 1
        return "done"


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


def left(app: Flask, path: str = "/probe") -> int:
    """Permits that are free, as the next request sees it."""
    told = app.test_client().get(path).headers["RateLimit"]
    return int(told.rpartition("r=")[2]) + 1


def serve(app: Flask, concurrency: Concurrency, view: Any, quota: int) -> None:
    """Put a view and a probe behind one in-flight limit."""
    limit = concurrency.limit(InFlight(quota), name="places")
    app.add_url_rule("/", "view", limit(lambda: view()))
    app.add_url_rule("/probe", "probe", limit(lambda: "probe"))


def test_of_twenty_at_once_four_are_let_in(app: Flask, concurrency: Concurrency) -> None:
    """Sixteen get 503 while the four are still inside, and all permits are free afterwards."""
    inside = Inside()
    serve(app, concurrency, inside, 4)
    answers: Counter[int] = Counter()
    refused = threading.Semaphore(0)

    def visit() -> None:
        status = app.test_client().get("/").status_code
        answers[status] += 1
        if status == 503:
            refused.release()

    threads = [threading.Thread(target=visit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert inside.full.acquire(timeout=10)
    for _ in range(16):
        assert refused.acquire(timeout=10)
    assert inside.now == 4
    inside.leave.set()
    for thread in threads:
        thread.join()
    assert answers == {200: 4, 503: 16}
    assert inside.most == 4
    assert left(app) == 4


@pytest.mark.parametrize("propagate", [True, False])
def test_a_view_that_raises_gives_its_place_back(
    app: Flask, concurrency: Concurrency, propagate: bool
) -> None:
    """Whether Flask answers 500 or lets the error out, as it does in tests and the debugger."""

    def fails() -> str:
        raise ZeroDivisionError

    serve(app, concurrency, fails, 1)
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    for _ in range(3):
        if propagate:
            with pytest.raises(ZeroDivisionError):
                app.test_client().get("/")
        else:
            with app.test_client().get("/") as response:
                assert response.status_code == 500
    assert left(app) == 1


def stream() -> Response:
    def chunks() -> Iterator[str]:
        yield "first"
        yield "second"

    return Response(chunks())


def wsgi_body(app: Flask, path: str = "/") -> Any:
    """What a server gets from the app: the body, before any of it is sent."""
    from werkzeug.test import create_environ

    return app(create_environ(path), lambda status, headers, exc_info=None: lambda data: None)


def test_a_stream_holds_its_place_to_the_last_byte(app: Flask, concurrency: Concurrency) -> None:
    """The view has returned long before; the permit is held until the server has asked for all."""
    serve(app, concurrency, stream, 2)
    body = wsgi_body(app)
    assert left(app) == 1
    assert next(body) == b"first"
    assert left(app) == 1
    assert list(body) == [b"second"]
    assert left(app) == 2
    body.close()
    assert left(app) == 2


def test_a_short_answer_gives_its_place_back_as_the_server_takes_it(
    app: Flask, concurrency: Concurrency
) -> None:
    """The client's next request may be there before the server has closed the body."""
    serve(app, concurrency, lambda: "x" * TAKEN_AT_ONCE, 1)
    body = wsgi_body(app)
    assert len(next(body)) == TAKEN_AT_ONCE
    assert left(app) == 1
    body.close()
    assert left(app) == 1


def short_stream(did: list[str], *chunks: str) -> Any:
    """A view that says how long its answer is and makes it bit by bit."""

    def view() -> Response:
        def made() -> Iterator[str]:
            try:
                for chunk in chunks:
                    did.append(f"made {chunk}")
                    yield chunk
                did.append("went on")
            finally:
                did.append("closed")

        return Response(made(), headers={"Content-Length": str(len("".join(chunks)))})

    return view


@pytest.mark.parametrize("chunks", [("one", "two"), ("", "one", "two")], ids=["two", "empty first"])
def test_a_short_stream_holds_its_place_to_the_last_byte(
    app: Flask, concurrency: Concurrency, chunks: tuple[str, ...]
) -> None:
    """Its first chunk is not all of it."""
    serve(app, concurrency, short_stream([], *chunks), 2)
    body = wsgi_body(app)
    given = [next(body) for _ in chunks[:-1]]
    assert left(app) == 1
    given.append(next(body))
    assert left(app) == 2
    assert given == [chunk.encode() for chunk in chunks]
    assert list(body) == []
    body.close()
    assert left(app) == 2


def test_a_short_stream_goes_on_only_when_the_server_asks_for_more(
    app: Flask, concurrency: Concurrency
) -> None:
    """What a view does after its last chunk holds that chunk up in no way, and is not left out."""
    did: list[str] = []
    serve(app, concurrency, short_stream(did, "all"), 1)
    body = wsgi_body(app)
    assert next(body) == b"all"
    assert did == ["made all"]
    assert list(body) == []
    assert did == ["made all", "went on", "closed"]
    body.close()


def test_a_short_stream_is_closed_with_its_answer(app: Flask, concurrency: Concurrency) -> None:
    """The client leaves: the view's generator ends where it stands."""
    did: list[str] = []
    serve(app, concurrency, short_stream(did, "all"), 1)
    body = wsgi_body(app)
    next(body)
    body.close()
    assert did == ["made all", "closed"]
    assert left(app) == 1


def test_a_short_stream_that_raises_at_once_gives_its_place_back(
    app: Flask, concurrency: Concurrency
) -> None:
    """It is closed, though the server never sees it."""
    closed: list[str] = []

    def broken() -> Response:
        def chunks() -> Iterator[str]:
            raise ZeroDivisionError
            yield ""

        response = Response(chunks(), headers={"Content-Length": "4"})
        response.call_on_close(lambda: closed.append("closed"))
        return response

    serve(app, concurrency, broken, 1)
    with pytest.raises(ZeroDivisionError):
        list(wsgi_body(app))
    assert closed == ["closed"]
    assert left(app) == 1


def test_a_long_answer_holds_its_place_until_it_is_sent(
    app: Flask, concurrency: Concurrency
) -> None:
    """The server waits for the client in between, with a thread and memory."""
    serve(app, concurrency, lambda: "x" * (TAKEN_AT_ONCE + 1), 2)
    body = wsgi_body(app)
    assert len(next(body)) == TAKEN_AT_ONCE + 1
    assert left(app) == 1
    body.close()
    assert left(app) == 2


def test_a_test_client_that_closes_nothing_never_runs_out_of_places(
    app: Flask, concurrency: Concurrency
) -> None:
    """Not even where ``abort()`` has made a cycle that keeps each response for a while."""
    serve(app, concurrency, lambda: abort(404), 1)
    gc.disable()
    try:
        assert {app.test_client().get("/").status_code for _ in range(3)} == {404}
    finally:
        gc.enable()


def test_an_abandoned_stream_gives_its_place_back(app: Flask, concurrency: Concurrency) -> None:
    """The client leaves, the server closes the body in the middle."""
    serve(app, concurrency, stream, 1)
    body = wsgi_body(app)
    next(body)
    body.close()
    assert left(app) == 1


def test_a_stream_that_raises_midway_gives_its_place_back(
    app: Flask, concurrency: Concurrency
) -> None:
    """An error between two chunks is the end of the request, too."""

    def broken() -> Response:
        def chunks() -> Iterator[str]:
            yield "first"
            raise ZeroDivisionError

        return Response(chunks())

    serve(app, concurrency, broken, 1)
    body = wsgi_body(app)
    next(body)
    with pytest.raises(ZeroDivisionError):
        next(body)
    assert left(app) == 1


def test_a_body_nobody_closes_gives_its_place_back(app: Flask, concurrency: Concurrency) -> None:
    """A server or a test that drops the body without closing it."""
    serve(app, concurrency, stream, 1)
    body = wsgi_body(app)
    next(body)
    del body
    assert left(app) == 1


def test_a_sent_file_gives_its_place_back(
    app: Flask, concurrency: Concurrency, tmp_path: Path
) -> None:
    """Files go in direct passthrough, where Werkzeug never calls ``call_on_close``."""
    file = tmp_path / "a.txt"
    file.write_text("hello")
    called: list[str] = []

    def download() -> Response:
        response = send_file(file)
        response.call_on_close(lambda: called.append("closed"))
        return response

    serve(app, concurrency, download, 1)
    body = wsgi_body(app)
    assert b"".join(body) == b"hello"
    body.close()
    assert called == []
    assert left(app) == 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_every_method_gives_its_place_back(
    app: Flask, concurrency: Concurrency, method: str
) -> None:
    """A response without a body ends like any other."""
    serve(app, concurrency, stream, 1)
    for _ in range(3):
        with app.test_client().open("/", method=method) as response:
            assert response.status_code == 200


def test_an_error_in_a_hook_gives_its_place_back(app: Flask, concurrency: Concurrency) -> None:
    """An ``after_request`` hook that fails loses the response, not the permit."""
    serve(app, concurrency, lambda: "ok", 1)
    failing = [True]

    @app.after_request
    def hook(response: Response) -> Response:
        if failing:
            raise ZeroDivisionError
        return response

    with app.test_client().get("/") as response:
        assert response.status_code == 500
    failing.clear()
    assert left(app) == 1


def test_a_request_without_wsgi_gives_its_place_back(app: Flask, concurrency: Concurrency) -> None:
    """Dispatched by hand in a request context, as some tests do."""
    serve(app, concurrency, lambda: "ok", 1)
    with app.test_request_context("/"):
        assert app.full_dispatch_request().status_code == 200
    assert left(app) == 1


def test_an_interrupted_view_gives_its_place_back(app: Flask, concurrency: Concurrency) -> None:
    """Worker time-outs raise ``SystemExit``, which Flask does not turn into a response."""

    def interrupted() -> str:
        raise SystemExit

    serve(app, concurrency, interrupted, 1)
    with pytest.raises(SystemExit):
        app.test_client().get("/")
    assert left(app) == 1
