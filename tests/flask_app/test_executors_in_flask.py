"""The executors as a view uses them."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
from flask import Flask, g, request

from flask_concurrency import Concurrency, ConfigurationError


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


def test_threads_give_ordered_results_with_the_request(
    app: Flask, concurrency: Concurrency
) -> None:
    """The tutorial's five tasks, with what it throws away: results, order, and the request."""

    @app.get("/<name>")
    def fan_out(name: str) -> list[str]:
        return list(concurrency.threads.map(lambda i: f"{i} {request.path}", range(5)))

    expected = [f"{i} /ann" for i in range(5)]
    assert app.test_client().get("/ann").json == expected


@pytest.mark.slow
def test_processes_give_ordered_results(app: Flask, concurrency: Concurrency) -> None:
    """The same with processes, and a second request uses the same warm workers."""

    @app.get("/")
    def fan_out() -> list[int]:
        return list(concurrency.processes.map(math.factorial, range(5)))

    for _ in range(2):
        assert app.test_client().get("/").json == [1, 1, 2, 6, 24]
    concurrency.processes.shutdown()


def test_an_error_in_a_task_is_raised_in_the_view(app: Flask, concurrency: Concurrency) -> None:
    """So Flask's error handlers see it."""

    @app.get("/")
    def fails() -> str:
        concurrency.threads.submit(lambda: dict[str, str]()["missing"]).result()
        return ""

    @app.errorhandler(KeyError)
    def missing(error: KeyError) -> tuple[str, int]:
        return str(error), 418

    assert app.test_client().get("/").status_code == 418


def test_async_views_share_one_loop(app: Flask, concurrency: Concurrency) -> None:
    """A lock made in one request works in the next, and hooks run on the same loop."""
    seen: list[Any] = []

    @app.before_request
    async def before() -> None:
        seen.append(asyncio.get_running_loop())
        g.lock = app.extensions.setdefault("lock", asyncio.Lock())

    @app.get("/")
    async def view() -> dict[str, str]:
        async with g.lock:
            seen.append(asyncio.get_running_loop())
            path = await concurrency.threads.run(lambda: request.path)
            return {"path": path, "thread": threading.current_thread().name}

    first, second = (app.test_client().get("/").json for _ in range(2))
    assert first == second == {"path": "/", "thread": "concurrency-loop"}
    assert len(set(map(id, seen))) == 1
    assert seen[0] is not None


def test_executors_work_without_a_request(app: Flask, concurrency: Concurrency) -> None:
    """At start-up and in commands, as long as it is clear which app is meant."""
    assert list(concurrency.threads.map(abs, [-1, -2])) == [1, 2]
    other = Flask("other")
    concurrency.init_app(other)
    with pytest.raises(RuntimeError, match=r"serves 2 apps.*app_context"):
        _ = concurrency.threads
    with other.app_context():
        assert concurrency.threads is other.extensions["concurrency"].executors.threads


def test_each_app_has_executors_of_its_own() -> None:
    """One app's settings do not change another's."""
    concurrency = Concurrency()
    small, large = Flask("small"), Flask("large")
    small.config["CONCURRENCY_THREADS"] = {"max_workers": 1}
    for app in (small, large):
        concurrency.init_app(app)
    with small.app_context():
        assert concurrency.threads.max_workers == 1
    with large.app_context():
        assert concurrency.threads.max_workers > 1


WRONG: list[tuple[str, dict[Any, Any], str]] = [
    ("CONCURRENCY_THREADS", {"max_workers": 0}, "max_workers=0 is no whole number"),
    ("CONCURRENCY_THREADS", {"workers": 3}, "no option 'workers'. Did you mean 'max_workers'?"),
    ("CONCURRENCY_THREADS", {"carry": int}, "no option 'carry'. Known are 'max_workers', "),
    ("CONCURRENCY_THREADS", {8: 8}, "no option 8. Known are 'max_workers', "),
    ("CONCURRENCY_PROCESSES", {"max_workers": -1}, "max_workers=-1 is no whole number"),
    ("CONCURRENCY_PROCESSES", {"max_queues": 3}, "no option 'max_queues'. Did you mean 'max_queue"),
    ("CONCURRENCY_PROCESSES", {"size": 3}, "no option 'size'. Known are 'app', 'max_workers', "),
    ("CONCURRENCY_PROCESSES", {"app": 3}, "app=3 is no place to import an app from"),
]


@pytest.mark.parametrize(("key", "options", "told"), WRONG)
def test_a_wrong_option_fails_at_init_app(key: str, options: dict[Any, Any], told: str) -> None:
    """The message names the key, the value as it was written, and what there is instead."""
    app = Flask(__name__)
    app.config[key] = options
    with pytest.raises(ConfigurationError) as caught:
        Concurrency(app)
    assert str(caught.value).startswith(f"{key} = {options!r}: ")
    assert told in str(caught.value)
