"""What the page on expensive reports promises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

PAGE = "docs/how-to/expensive-reports.md"
STREAM, CUSTOMERS, BLOCK = range(3)
SERVER_THREADS = "FLASK_CONCURRENCY_SERVER_THREADS"
SOON = 10.0
Run = Callable[..., dict[str, Any]]
Begun = Callable[..., TestResponse]


def test_who_finds_no_place_and_no_thread_to_wait_in_is_refused(
    run_block: Run, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, as with gunicorn's sync workers; a reader that leaves makes room."""
    monkeypatch.setenv(SERVER_THREADS, "1")
    app = run_block(PAGE, STREAM)["app"]
    reports = [begun(app, "/orders.csv") for _ in range(4)]

    refused = begun(app, "/orders.csv")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) in range(1, 4)

    reports[0].close()
    whole = begun(app, "/orders.csv")
    assert whole.status_code == 200
    assert len(whole.data.splitlines()) == 100


@pytest.mark.parametrize(("threads", "waiters"), [(1, 0), (2, 0), (3, 1), (8, 6)])
def test_two_threads_of_the_server_never_wait(
    run_block: Run, monkeypatch: pytest.MonkeyPatch, threads: int, waiters: int
) -> None:
    """The environment variable of the page says how many there are."""
    monkeypatch.setenv(SERVER_THREADS, str(threads))
    rooms = run_block(PAGE, STREAM)["app"].extensions["concurrency"].rooms

    entered = [rooms.enter("room", "fifo") for _ in range(threads)]
    assert sum(waiter is not None for waiter in entered) == waiters


def test_a_customers_second_report_does_not_wait(run_block: Run, begun: Begun) -> None:
    """Their own limit has no waiting room, so waiting could not help."""
    app = run_block(PAGE, CUSTOMERS)["app"]
    first = begun(app, "/report", X_API_Key="ada")

    second = begun(app, "/report", X_API_Key="ada")
    other = begun(app, "/report", X_API_Key="brian")

    assert first.status_code == other.status_code == 200
    assert second.status_code == 429
    assert second.get_json()["violated-policies"] == ["route:1 in flight"]
    assert '"route:100/day";r=99' in second.headers["RateLimit"]


def test_who_waits_has_spent_nothing(
    run_block: Run, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth customer waits; their day is whole until they come in."""
    monkeypatch.setenv(SERVER_THREADS, "7")  # four work, and one of them may wait
    app = run_block(PAGE, CUSTOMERS)["app"]
    rooms = app.extensions["concurrency"].rooms
    inside = [begun(app, "/report", X_API_Key=f"customer {number}") for number in range(4)]
    began = threading.Event()
    enter = rooms.enter

    def noticed(*args: Any) -> Any:
        waiter = enter(*args)
        began.set()
        return waiter

    rooms.enter = noticed
    with ThreadPoolExecutor(1) as clients:
        fifth = clients.submit(begun, app, "/report", X_API_Key="ada")
        assert began.wait(SOON)
        meanwhile = begun(app, "/report", X_API_Key="ada")
        inside[0].close()
        let_in = fifth.result(SOON)

    assert meanwhile.status_code == 503
    assert '"route:100/day";r=100' in meanwhile.headers["RateLimit"]
    assert let_in.status_code == 200
    assert '"route:100/day";r=99' in let_in.headers["RateLimit"]


def test_a_page_is_served_without_what_is_dear(run_block: Run) -> None:
    """The block refuses, and the view goes on."""
    names = run_block(PAGE, BLOCK)
    app, concurrency = names["app"], names["concurrency"]
    client = app.test_client()

    assert client.get("/page").text.endswith("what others bought.")
    with app.test_request_context("/"):
        block = concurrency.limit(names["InFlight"](2), name="recommendations")
        with block, block:
            assert client.get("/page").text == "Here is your page."
    assert client.get("/page").text.endswith("what others bought.")
