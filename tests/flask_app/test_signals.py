"""Signals: who hears of what, and what a receiver cannot break."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from blinker import NamedSignal
from flask import Flask

from flask_concurrency import Concurrency, limit_moved, request_refused, store_lost, task_failed
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.vocabulary.errors import StoreUnavailable

LOST = StoreUnavailable("gone")


@pytest.fixture
def app() -> Flask:
    """An app with one limited route."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)

    @app.get("/items/<int:number>")
    @concurrency.limit("1/minute")
    def item(number: int) -> str:
        return str(number)

    return app


@contextmanager
def heard(signal: NamedSignal, app: Flask) -> Iterator[list[dict[str, Any]]]:
    """What a receiver of a signal is told."""
    found: list[dict[str, Any]] = []

    def receive(sender: Flask, **facts: Any) -> None:
        found.append(facts)

    with signal.connected_to(receive, app):
        yield found


def state_of(app: Flask) -> AppState:
    """What the extension keeps for an app."""
    state: AppState = app.extensions["concurrency"]
    return state


def test_each_refusal_is_told_the_repeated_ones_too(app: Flask) -> None:
    """A refusal that is answered without Flask is one as well, and stays as quick."""
    client = app.test_client()
    with heard(request_refused, app) as refusals:
        codes = [client.get(f"/items/{number}").status_code for number in range(4)]
        assert state_of(app).refusals.refused, "it must not switch the cache off"
    assert codes == [200, 429, 429, 429]
    assert [told["status"] for told in refusals] == [429, 429, 429]
    assert {told["route"] for told in refusals} == {"/items/<int:number>"}
    assert refusals[0]["decision"].refusing[0].name == "route:1/minute"


def test_another_app_hears_nothing(app: Flask) -> None:
    """The sender is the app."""
    with heard(request_refused, Flask("other")) as refusals:
        for _ in range(2):
            app.test_client().get("/items/1")
    assert refusals == []


def test_a_receiver_that_raises_is_logged_and_the_answer_stands(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """What watches an app must not break it."""

    def broken(sender: Flask, **facts: Any) -> None:
        raise ValueError("broken receiver")

    with request_refused.connected_to(broken, app), caplog.at_level(logging.ERROR):
        assert [app.test_client().get("/items/1").status_code for _ in range(2)] == [200, 429]
    assert "broken receiver" in caplog.text


def test_a_failed_task_is_told_with_its_error(app: Flask) -> None:
    """Also one whose error the caller handles."""
    threads = state_of(app).executors.threads
    error = ValueError("no")

    def fail() -> None:
        raise error

    with heard(task_failed, app) as failures:
        assert threads.submit(fail).exception() is error
        threads.shutdown()
    (told,) = failures
    assert told["executor"] == "threads"
    assert told["task"].endswith("fail")
    assert told["error"] is error


@pytest.mark.parametrize(
    ("signal", "happens", "told"),
    [
        (
            limit_moved,
            lambda counters: counters.moved("app:adaptive", None, 8),
            {"limit": "app:adaptive", "before": None, "now": 8},
        ),
        (store_lost, lambda counters: counters.store_lost(LOST), {"error": None}),
    ],
)
def test_a_moved_limit_and_a_lost_store_are_told(
    app: Flask, signal: NamedSignal, happens: Callable[[Any], None], told: dict[str, Any]
) -> None:
    """With what a person would ask next."""
    with heard(signal, app) as found:
        happens(state_of(app).counters)
    (facts,) = found
    assert facts == {**told, **({"error": LOST} if "error" in told else {})}
