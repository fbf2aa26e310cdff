"""Limits of blocks of code, in a request and outside of any."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextvars import copy_context
from typing import Any

import http_sf
import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError, InFlight, QuotaExceeded, ServerBusy
from flask_concurrency.keys import header
from flask_requests import statuses


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


def test_a_block_limits_what_is_done_inside(app: Flask, concurrency: Concurrency) -> None:
    """Wherever it stands; a refusal is a 429 that the app may also catch."""

    @app.get("/send")
    def send() -> str:
        with concurrency.limit("2/day", name="sms", key=header("Phone")):
            return "sent"

    @app.get("/try")
    def attempt() -> str:
        try:
            with concurrency.limit("2/day", name="sms", key=header("Phone")):
                return "sent"
        except QuotaExceeded:
            return "later"

    client = app.test_client()
    assert statuses(app, "/send", 3, headers={"Phone": "1"}) == [200, 200, 429]
    assert statuses(app, "/send", 1, headers={"Phone": "2"}) == [200]
    caught = client.get("/try", headers={"Phone": "1"})
    assert (caught.status_code, caught.text) == (200, "later")
    assert "Retry-After" not in caught.headers
    assert '"sms:2/day";q=2;w=86400' in caught.headers["RateLimit-Policy"]


def test_a_block_holds_its_permit_to_its_end(app: Flask, concurrency: Concurrency) -> None:
    """Inside the block no second caller fits; behind it the permit is free, also after an error."""
    one = concurrency.limit(InFlight(1), name="printer")
    with app.test_request_context("/"):
        with one, pytest.raises(ServerBusy), one:
            pytest.fail("two at the printer")
        with pytest.raises(KeyError), one:
            raise KeyError
        with one:
            pass


def test_a_block_outside_of_requests_says_whom_it_counts(
    app: Flask, concurrency: Concurrency
) -> None:
    """In commands and tasks there is no client address to fall back to."""
    daily = concurrency.limit("1/day", name="report", key=lambda: "nightly")
    with app.app_context():
        with daily:
            pass
        with pytest.raises(QuotaExceeded), daily:
            pytest.fail("a second report")
        printer = concurrency.limit("1 in flight", name="printer")  # counts all callers together
        with printer, pytest.raises(ServerBusy), printer:
            pytest.fail("two at the printer")


def test_a_block_in_a_task_may_outlast_its_request(app: Flask, concurrency: Concurrency) -> None:
    """Its permit is held until it ends, and not until the response is sent."""
    entered, go_on = threading.Event(), threading.Event()
    printer = concurrency.limit(InFlight(1), name="printer")

    def work() -> bool:
        with printer:
            entered.set()
            return go_on.wait(30)

    futures = []

    @app.get("/")
    def view() -> str:
        futures.append(concurrency.threads.submit(work))
        return str(entered.wait(30))

    assert app.test_client().get("/").text == "True"
    with app.app_context(), pytest.raises(ServerBusy), printer:
        pytest.fail("two at the printer")
    go_on.set()
    assert futures[0].result(30)
    with app.app_context(), printer:
        pass
    concurrency.threads.shutdown()


def test_a_block_that_is_entered_again_is_told_once(app: Flask, concurrency: Concurrency) -> None:
    """As it is after the last time: one item a policy, in the fields and for the view."""

    @app.get("/<int:status>")
    def view(status: int) -> tuple[str, int]:
        for _ in range(2):
            with concurrency.limit("9/day", name="sms"):
                pass
        printer = concurrency.limit("1 in flight", name="printer")
        with printer, pytest.raises(ServerBusy), printer:
            pytest.fail("two at the printer")
        with printer:
            assert concurrency.current is not None
            assert concurrency.current.admitted
        return "", status

    answer = app.test_client().get("/404")
    limits: Any = http_sf.parse(answer.headers["RateLimit"].encode(), tltype="list")
    assert [(name, told["r"]) for name, told in limits] == [
        ("sms:9/day", 7),
        ("printer:1 in flight", 0),
    ]
    assert answer.headers["RateLimit-Policy"].count(";q=") == 2
    assert "Retry-After" not in answer.headers


def test_a_block_is_charged_by_the_response(app: Flask, concurrency: Concurrency) -> None:
    """Also in a view that has no such limit itself."""

    @app.get("/<int:status>")
    def view(status: int) -> tuple[str, int]:
        with concurrency.limit("1/day", name="x", charge_when=lambda r: r.status_code == 401):
            return "", status

    answers = [statuses(app, path)[0] for path in ("/200", "/204", "/401", "/200")]
    assert answers == [200, 204, 401, 429]


def test_a_block_may_be_left_in_another_context(app: Flask, concurrency: Concurrency) -> None:
    """A server closes a streaming generator in the context where it notices the disconnect."""
    seat = concurrency.limit("2 in flight", name="seat")

    def stream() -> Generator[int]:
        with seat:
            yield 1

    with app.app_context():
        here, streams = copy_context(), [stream(), stream()]
        for each in streams:
            here.run(next, each)
        for _ in range(2):
            streams.pop().close()
            with seat:
                pass
            here.run(seat.__enter__)
            here.run(seat.__exit__, None, None, None)


BLOCKS: list[tuple[dict[str, Any], str]] = [
    ({}, "needs a name"),
    ({"name": "x", "methods": ["GET"]}, "methods="),
    ({"name": "x", "replace": True}, "replace="),
    ({"name": "x"}, "outside of a request"),
    ({"name": "x", "key": str, "charge_when": bool}, "charge_when="),
]


@pytest.mark.parametrize(("options", "told"), BLOCKS)
def test_a_block_that_means_nothing_is_refused(
    app: Flask, concurrency: Concurrency, options: dict[str, Any], told: str
) -> None:
    """The error names the mistake, instead of a count that limits no request."""
    block = concurrency.limit("1/day", **options)
    with app.app_context(), pytest.raises(ConfigurationError, match=told), block:
        pytest.fail("entered")
