"""Pages are fetched over real HTTP, in order, on threads all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from examples.demo.fetching import MAX_BYTES, fetch
from examples.demo.load import simultaneously
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

Serve = Callable[["WSGIApplication"], str]


@pytest.fixture
def serve_wsgi() -> Iterator[Serve]:
    """Serve a WSGI app on a thread of this process, and give its origin."""
    with ExitStack() as running:

        def start(app: WSGIApplication) -> str:
            server = make_server("127.0.0.1", 0, app, threaded=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            running.callback(server.server_close)
            return f"http://127.0.0.1:{server.port}"

        yield start


@pytest.mark.parametrize("way", ["one-by-one", "on-threads"])
def test_pages_come_in_the_order_asked_for(
    api_app: Flask, page_app: Flask, serve_wsgi: Serve, way: str
) -> None:
    """Either way: each with status, title and size, and an instant for its start and its end."""
    origin = serve_wsgi(page_app)
    api_app.config["FETCH_ORIGINS"] = {origin}
    urls = [f"{origin}/pages/{number}?delay=0" for number in (3, 1, 2)] + [f"{origin}/nowhere"]

    answer: Any = api_app.test_client().post(f"/pages/{way}", json={"urls": urls}).json

    pages = answer["pages"]
    assert [page["url"] for page in pages] == urls
    assert [page["status"] for page in pages] == [200, 200, 200, 404]
    assert [page["title"] for page in pages[:3]] == ["The post office", "The kettle", "The lift"]
    assert all(page["size"] > 0 for page in pages)
    for page in pages:
        assert answer["started_at"] <= page["started_at"] <= page["ended_at"]


def test_on_threads_all_pages_are_asked_for_at_once(api_app: Flask, serve_wsgi: Serve) -> None:
    """None is answered before the last one has been asked for."""
    barrier = threading.Barrier(8)

    @Request.application
    def meet(_request: Request) -> Response:
        barrier.wait(10)
        return Response("<title>met</title>")

    origin = serve_wsgi(meet)
    api_app.config["FETCH_ORIGINS"] = {origin}

    answer: Any = api_app.test_client().post("/pages/on-threads", json={"urls": [origin] * 8}).json

    assert [page["title"] for page in answer["pages"]] == ["met"] * 8
    assert len({page["thread"] for page in answer["pages"]}) == 8


def test_a_redirect_is_not_followed(serve_wsgi: Serve) -> None:
    """What was allowed must not lead to what was not."""

    @Request.application
    def elsewhere(_request: Request) -> Response:
        return Response(status=302, headers={"Location": "http://169.254.169.254/"})

    assert fetch(serve_wsgi(elsewhere)).status == 302


def test_an_endless_page_is_cut_off(serve_wsgi: Serve) -> None:
    """A page cannot fill the memory of the API."""

    @Request.application
    def endless(_request: Request) -> Response:
        return Response(b"x" * 65536 for _ in iter(int, 1))

    assert fetch(serve_wsgi(endless)).size == MAX_BYTES


def test_a_page_without_a_server_is_a_result_too() -> None:
    """It has no status, and says why."""
    page = fetch("http://127.0.0.1:1/")

    assert page.status is None
    assert "no answer" in page.title


@pytest.mark.parametrize("requests", [1, 12])
def test_the_load_is_really_simultaneous(serve_wsgi: Serve, requests: int) -> None:
    """No request is answered before the last one has come."""
    barrier = threading.Barrier(requests)

    @Request.application
    def meet(request: Request) -> Response:
        barrier.wait(10)
        return Response('{"path": "' + request.full_path + '"}')

    answers = simultaneously(f"{serve_wsgi(meet)}/a?b=c", requests=requests)

    assert [answer.status for answer in answers] == [200] * requests
    assert answers[0].content == {"path": "/a?b=c"}
    assert max(a.sent for a in answers) <= min(a.answered for a in answers)


def test_an_answer_that_is_no_json_is_no_answer(serve_wsgi: Serve) -> None:
    """The load goes on; the answer just has no status."""

    @Request.application
    def text(_request: Request) -> Response:
        return Response("plain")

    assert [a.status for a in simultaneously(serve_wsgi(text), requests=2)] == [None, None]


def test_each_page_has_the_delay_its_address_asks_for(
    page: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no more than that."""
    slept: list[float] = []
    monkeypatch.setattr("examples.demo.sample_pages.time.sleep", slept.append)

    page.get("/pages/1?delay=1.5")

    assert slept == [1.5]
