"""What ``flask_concurrency.testing`` gives the test suites of apps."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from flask import Flask, request

from flask_concurrency import Concurrency, TaskNotPicklable
from flask_concurrency.testing import ManualClock, fresh_counts, inline_executors


def statuses(app: Flask, times: int = 2) -> list[int]:
    answers = []
    for _ in range(times):
        with app.test_client().get("/") as response:
            answers.append(response.status_code)
    return answers


def make_app() -> Flask:
    app = Flask("shop")
    Concurrency(app, default_limits="1/minute")
    app.get("/")(lambda: "hello")
    return app


def test_each_block_counts_anew_and_what_was_goes_on() -> None:
    """An app that all tests share brings nothing from one to the next."""
    app = make_app()
    assert statuses(app) == [200, 429]
    for _ in range(2):
        with fresh_counts():
            assert statuses(app) == [200, 429]
    assert statuses(app) == [429, 429]


def test_apps_that_are_made_in_the_block_count_there_apart() -> None:
    """Whatever store they name."""
    with fresh_counts():
        one, two = make_app(), make_app()
        assert statuses(one) == statuses(two) == [200, 429]


def test_a_window_opens_again_when_the_clock_is_moved() -> None:
    """No test waits, and no refusal is repeated from memory."""
    app, clock = make_app(), ManualClock()
    with fresh_counts(clock):
        assert statuses(app, 3) == [200, 429, 429]
        clock.advance(61)
        assert statuses(app) == [200, 429]


def where(task: str) -> tuple[str, str]:
    return task, threading.current_thread().name


def test_tasks_run_where_they_are_submitted() -> None:
    """On threads, on processes, and in groups; the request is there as it is."""
    app = Flask("shop")
    concurrency = Concurrency(app)

    @app.get("/")
    def index() -> list[object]:
        here = threading.current_thread().name
        with concurrency.task_group() as group:
            grouped = group.threads.submit(where, "group")
        return [
            concurrency.threads.submit(lambda: request.path).result(),
            *(
                found == (task, here)
                for task, found in [
                    ("thread", concurrency.threads.submit(where, "thread").result()),
                    ("process", concurrency.processes.submit(where, "process").result()),
                    ("group", grouped.result()),
                    ("map", next(iter(concurrency.threads.map(where, ["map"])))),
                ]
            ),
        ]

    with inline_executors(app):
        assert app.test_client().get("/").json == ["/", True, True, True, True]
        with app.app_context(), pytest.raises(TaskNotPicklable):
            concurrency.processes.submit(lambda: 1).result()
    before = app.extensions["concurrency"].executors
    assert type(before.threads).__name__ == "ThreadExecutor"


def test_an_error_of_an_inline_task_is_the_futures() -> None:
    """As with a real executor."""
    app = Flask("shop")
    concurrency = Concurrency(app)
    with inline_executors(app), app.app_context():
        future = concurrency.threads.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            future.result()


SUITE = """
import pytest
from shop import create_app

pytest_plugins = ["flask_concurrency.testing.plugin"]


@pytest.fixture(scope="session")
def app():
    return create_app()


def statuses(app):
    return [app.test_client().get("/").status_code for _ in range(2)]


def test_one(app):
    assert statuses(app) == [200, 429]


def test_two(app, limit_clock):
    assert statuses(app) == [200, 429]
    limit_clock.advance(61)
    assert statuses(app) == [200, 429]


def test_three(app, inline_executors):
    assert app.test_client().get("/task").json == "MainThread"
"""

SHOP = """
import threading
from flask import Flask
from flask_concurrency import Concurrency


def create_app():
    app = Flask("shop")
    concurrency = Concurrency(app, default_limits="1/minute")
    app.get("/")(lambda: "hello")

    @app.get("/task")
    def task():
        name = concurrency.threads.submit(lambda: threading.current_thread().name).result()
        return f'"{name}"', {"Content-Type": "application/json"}

    return app
"""


@pytest.mark.slow
def test_the_plugin_works_in_a_suite_of_its_own(tmp_path: Path) -> None:
    """As the page "Test your app" shows it."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(SUITE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "3 passed" in run.stdout, run.stdout
