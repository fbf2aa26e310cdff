"""``concurrency.dashboard``: what the page is told, who may see it, and who may act on it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError, InFlight
from flask_concurrency.flask_app.dashboard import pages
from flask_concurrency.flask_app.dashboard.exempt_keys import LOOK_EVERY, ExemptKeys
from flask_concurrency.testing.manual_clock import ManualClock

OF_THE_PAGE = {"X-Concurrency-Dashboard": "1", "Sec-Fetch-Site": "same-origin"}
MOST_BYTES = 150_000


@pytest.fixture
def app() -> Flask:
    """An app that shows what it does."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app, default_limits="1/day")
    concurrency.dashboard(app)

    @app.get("/items/<int:number>")
    @concurrency.limit("2/minute", replace=True)
    def item(number: int) -> str:
        return str(number)

    @app.get("/report")
    @concurrency.limit(InFlight(8, max_queue=4, max_wait=1.0), replace=True)
    def report() -> str:
        return "report"

    return app


def told(app: Flask, after: int = 0) -> dict[str, Any]:
    """What the page is told."""
    response = app.test_client().get(f"/_concurrency/data.json?after={after}")
    assert response.status_code == 200, response.text
    message: dict[str, Any] = response.get_json()
    return message


def codes(app: Flask, number: int) -> list[int]:
    """Answers to requests of one client."""
    return [app.test_client().get("/items/1").status_code for _ in range(number)]


def test_the_page_is_told_what_limits_decided_and_who_was_refused(app: Flask) -> None:
    """By route template and by key."""
    codes(app, 5)
    message = told(app)
    limits = {(row["route"], row["limit"]): row for row in message["limits"]}
    row = limits["/items/<int:number>", "route:2/minute"]
    assert (row["admitted"], row["refused"]) == (2, 3)
    idle = limits["/report", "route:8 in flight"]
    assert (idle["used"], idle["of"], idle["waiting"], idle["max_queue"]) == (0, 8, 0, 4)
    (refused,) = message["refused"]
    assert (refused["key"], refused["times"]) == ("127.0.0.1", 3)
    (route,) = message["routes"]
    assert (route["requests"], route["refused"]) == (5, 3)


def test_watching_is_no_load(app: Flask) -> None:
    """The page's own requests are counted nowhere on it."""
    for _ in range(3):
        message = told(app)
    assert message["routes"] == []
    assert message["level"] == "idle"


def test_the_page_and_all_it_loads_is_small(app: Flask) -> None:
    """And comes from the app alone."""
    client = app.test_client()
    page = client.get("/_concurrency/")
    names = re.findall(r'(?:src|href)="([^"#:]+)"', page.text)
    assert set(names) == set(pages.FILES)
    sizes = [len(client.get(f"/_concurrency/{name}").data) for name in names]
    assert len(page.data) + sum(sizes) <= MOST_BYTES
    assert client.get("/_concurrency/page.html").status_code == 404
    assert client.get("/_concurrency").headers["Location"].endswith("/_concurrency/")


def test_nothing_may_run_that_is_not_the_apps(app: Flask) -> None:
    """No inline script or style, no frame, no other origin."""
    page = app.test_client().get("/_concurrency/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page.text
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page.text)
    script = (pages.STATIC / "dashboard.js").read_text()
    assert "innerHTML" not in script
    assert "eval(" not in script


def test_the_licence_of_what_is_not_ours_is_beside_it() -> None:
    """It asks to be kept with each copy."""
    assert "Leon Sorokin" in (pages.STATIC / "uplot.LICENSE.txt").read_text()


@pytest.mark.parametrize(
    ("debug", "testing", "access", "address", "status"),
    [
        (False, False, None, "127.0.0.1", 403),
        (True, False, None, "127.0.0.1", 200),
        (True, False, None, "203.0.113.7", 403),
        (False, False, lambda: True, "203.0.113.7", 200),
        (True, False, lambda: False, "127.0.0.1", 403),
        (True, False, lambda: 1 / 0, "127.0.0.1", 403),
    ],
)
def test_it_is_closed_unless_the_app_opens_it(
    debug: bool, testing: bool, access: Callable[[], object] | None, address: str, status: int
) -> None:
    """Pages, data and actions alike."""
    app = Flask("shop")
    app.debug, app.testing = debug, testing
    concurrency = Concurrency(app, store="memory://")
    concurrency.dashboard(app, access=access)
    app.extensions["concurrency"].counters.begin = lambda: None
    client = app.test_client()
    found = {
        client.get(f"/_concurrency/{path}", environ_overrides={"REMOTE_ADDR": address}).status_code
        for path in ("", "dashboard.js")
    }
    assert found == {status}
    if status == 403:
        act = client.post(
            "/_concurrency/reset",
            json={"key": "a"},
            headers=OF_THE_PAGE,
            environ_overrides={"REMOTE_ADDR": address},
        )
        assert act.status_code == 403


def test_a_refused_key_is_reset_and_let_in(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """And the log says by whom."""
    assert codes(app, 3) == [200, 200, 429]
    with caplog.at_level(logging.WARNING):
        response = app.test_client().post(
            "/_concurrency/reset", json={"key": "127.0.0.1"}, headers=OF_THE_PAGE
        )
    assert response.get_json()["said"].endswith("of '127.0.0.1' begin anew.")
    assert codes(app, 1) == [200]
    assert told(app)["refused"] == []
    assert "reset the key '127.0.0.1'" in caplog.text


def test_an_exempt_key_is_counted_no_more(app: Flask) -> None:
    """By any limit that counts it."""
    codes(app, 3)
    response = app.test_client().post(
        "/_concurrency/exempt", json={"key": "127.0.0.1"}, headers=OF_THE_PAGE
    )
    assert response.status_code == 200
    assert codes(app, 5) == [200] * 5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"X-Concurrency-Dashboard": "1", "Sec-Fetch-Site": "cross-site"},
        {"X-Concurrency-Dashboard": "1", "Sec-Fetch-Site": "same-site"},
        {"X-Concurrency-Dashboard": "1", "Origin": "https://evil.example"},
    ],
)
def test_no_other_page_can_act(app: Flask, headers: dict[str, str]) -> None:
    """A visitor of another site may have access here."""
    codes(app, 3)
    response = app.test_client().post(
        "/_concurrency/reset", json={"key": "127.0.0.1"}, headers=headers
    )
    assert response.status_code == 403
    assert codes(app, 1) == [429]
    assert app.test_client().get("/_concurrency/reset").status_code in (404, 405)


@pytest.mark.parametrize("body", [None, [], {}, {"key": ""}, {"key": 5}])
def test_an_action_without_a_key_is_refused(app: Flask, body: Any) -> None:
    """With words, and nothing is done."""
    response = app.test_client().post("/_concurrency/reset", json=body, headers=OF_THE_PAGE)
    assert response.status_code == 400


def test_a_prefix_that_is_taken_is_refused() -> None:
    """When the app starts."""
    app = Flask("shop")
    app.get("/ops/<path:any>", endpoint="ops")(str)
    concurrency = Concurrency(app)
    with pytest.raises(ConfigurationError, match="'ops' has the path"):
        concurrency.dashboard(app, "/ops")
    for prefix in ("ops", "/"):
        with pytest.raises(ConfigurationError, match="must begin with a slash"):
            concurrency.dashboard(app, prefix)


def test_a_server_with_one_thread_is_asked_instead_of_held(app: Flask) -> None:
    """And so is one that feeds enough pages already: a page costs a thread."""
    client = app.test_client()
    alone = client.get("/_concurrency/feed", environ_overrides={"wsgi.multithread": False})
    assert alone.status_code == 204
    held = [
        client.get(
            "/_concurrency/feed", environ_overrides={"wsgi.multithread": True}, buffered=False
        )
        for _ in range(pages.MOST_STREAMS + 1)
    ]
    assert [response.status_code for response in held] == [200] * pages.MOST_STREAMS + [204]
    for response in held:
        response.close()
    again = client.get(
        "/_concurrency/feed", environ_overrides={"wsgi.multithread": True}, buffered=False
    )
    assert again.status_code == 200
    again.close()


def test_a_hundred_tabs_hold_two_threads(app: Flask) -> None:
    """The others are told to ask, and do not come back for a stream."""
    client = app.test_client()
    tabs = [
        client.get(
            "/_concurrency/feed", environ_overrides={"wsgi.multithread": True}, buffered=False
        )
        for _ in range(100)
    ]
    assert [tab.status_code for tab in tabs].count(200) == pages.MOST_STREAMS
    assert [tab.status_code for tab in tabs].count(204) == 100 - pages.MOST_STREAMS
    for tab in tabs:
        tab.close()


def test_an_exemption_reaches_other_processes_and_ends(tmp_path: Path) -> None:
    """Within a second; the file names no key."""
    directory = tmp_path / "counters"
    clock, wall = ManualClock(), ManualClock()
    mine = ExemptKeys(directory, clock=clock, wall=wall)
    theirs = ExemptKeys(directory, clock=clock, wall=wall)
    assert "alice" not in theirs
    mine.add("alice", 600)
    assert "alice" in mine
    clock.advance(LOOK_EVERY)
    assert "alice" in theirs
    assert "bob" not in theirs
    assert "" not in theirs
    assert "alice" not in next(directory.glob("exempt.json")).read_text()
    wall.advance(600)
    assert "alice" not in theirs
