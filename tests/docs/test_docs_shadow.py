"""What the page on trying limits promises."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency

PAGE = "docs/how-to/try-a-limit.md"
SHADOW, QUOTA, WARNING, REFUSALS = range(4)
Run = Callable[..., dict[str, Any]]


def test_a_shadow_is_logged_and_refuses_nobody(
    pages: dict[str, Any], run_block: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The line of the page, once for each request too many, and nothing in the answer."""
    client = run_block(PAGE, SHADOW)["app"].test_client()
    client.environ_base["REMOTE_ADDR"] = "192.0.2.7"

    answers = [client.get("/search") for _ in range(62)]

    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[-1].headers
    line = pages[PAGE].blocks("text")[0].strip()
    assert [record.getMessage() for record in caplog.records] == [line, line]


def test_the_view_sees_what_the_page_shows(pages: dict[str, Any], run_block: Run) -> None:
    """Quota, what is left, and when there is more."""
    client = run_block(PAGE, QUOTA)["app"].test_client()
    shown = json.loads(pages[PAGE].blocks("json")[0])

    told = client.get("/quota").get_json()
    assert {
        name: {**limit, "more in": round(limit["more in"])} for name, limit in told.items()
    } == {name: {**limit, "more in": round(limit["more in"])} for name, limit in shown.items()}


def test_who_has_used_most_is_noted_once(run_block: Run, caplog: pytest.LogCaptureFixture) -> None:
    """At a fifth of the quota, and not before or after."""
    caplog.set_level(logging.INFO)
    client = run_block(PAGE, WARNING)["app"].test_client()

    for _ in range(90):
        client.get("/")

    assert [record.getMessage() for record in caplog.records] == [
        "default:100/hour: one fifth is left, at /"
    ]


def test_a_refusal_that_is_logged_is_answered_as_usual(
    run_block: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler gives the error back."""
    app = run_block(PAGE, REFUSALS)["app"]
    app.add_url_rule("/", "index", lambda: "in")
    client = app.test_client()

    answers = [client.get("/") for _ in range(102)]

    assert [answer.status_code for answer in answers[99:]] == [200, 429, 429]
    assert answers[101].mimetype == "application/problem+json"
    assert "Retry-After" in answers[101].headers
    assert [record.getMessage() for record in caplog.records] == [
        "default:100/hour refused / of 127.0.0.1"
    ] * 2


def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``from_prefixed_env``, as the page says; no limit, no fields."""
    monkeypatch.setenv("FLASK_CONCURRENCY_ENABLED", "false")
    app = Flask(__name__)
    app.config.from_prefixed_env()
    Concurrency(app, default_limits="1/day", store="memory://")
    app.add_url_rule("/", "index", lambda: "in")
    client = app.test_client()

    answers = [client.get("/") for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers
