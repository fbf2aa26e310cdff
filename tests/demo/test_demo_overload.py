"""The small app that is overloaded: the same with and without the limit, and a load that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from examples.demo.open_loop import counted
from examples.demo.overloaded import create_app, with_it, without

from flask_concurrency import Adaptive


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers half of the requests, and refuses the others."""

    class Handler(BaseHTTPRequestHandler):
        turn = 0

        def do_GET(self) -> None:
            Handler.turn += 1
            self.send_response(200 if Handler.turn % 2 else 503)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/work"
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_apps_are_the_same_but_for_the_word() -> None:
    """One has an adaptive limit, the other none."""
    for app, limits in ((with_it, (Adaptive(0.5),)), (without, ())):
        settings = app.extensions["concurrency"].settings
        assert tuple(each for d in settings.app_limits for each in d.limits) == limits
        assert {rule.rule for rule in app.url_map.iter_rules()} == {"/work"}


def test_the_view_works_and_health_is_answered() -> None:
    """Before it is overloaded."""
    app = create_app("adaptive")
    app.testing = True
    assert app.test_client().get("/work").text == "done"
    assert app.test_client().get("/livez").status_code == 200


def test_all_that_was_sent_is_counted(url: str) -> None:
    """To each server by itself, and the counts only grow."""
    seen = list(counted({"one": url, "two": url}, rate=60, seconds=0.5, deadline=5.0))
    for name in ("one", "two"):
        sums = [sum(counts[name].values()) for counts in seen]
        assert sums == sorted(sums)
        assert sums[-1] > 5
        assert seen[-1][name]["lost"] == seen[-1][name]["late"] == 0
    assert sum(seen[-1][name]["refused"] for name in ("one", "two")) > 0


def test_a_server_that_is_not_there_loses_all() -> None:
    """Which is counted, and raises nothing."""
    seen = list(counted({"one": "http://127.0.0.1:9/work"}, rate=50, seconds=0.3, deadline=1.0))
    assert seen[-1]["one"]["lost"] > 0
    assert seen[-1]["one"]["good"] == 0


def test_a_load_ends_with_whom_it_is_for(url: str) -> None:
    """A page that is closed sends nothing any more."""
    found = counted({"one": url}, rate=20, seconds=60.0, deadline=5.0)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert "demo-load" not in {thread.name for thread in threading.enumerate()}
