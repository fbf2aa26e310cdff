"""Task groups and named executors as a view uses them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask, request

from flask_concurrency import (
    Concurrency,
    ConfigurationError,
    DeadlineExceeded,
    TaskGroup,
    TaskResult,
)
from flask_concurrency.executors.foreign_executor import ForeignExecutor


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    return Concurrency(app)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def path() -> str:
    return request.path


async def path_on_loop() -> str:
    return request.path


def test_tasks_of_a_view_see_its_request(
    app: Flask, concurrency: Concurrency, pool: ThreadPoolExecutor
) -> None:
    """On threads, on the loop, and on a foreign pool of threads."""
    concurrency.add_executor("pool", pool)

    @app.get("/<name>")
    def fan_out(name: str) -> list[str]:
        with concurrency.task_group(timeout=30) as group:
            group.threads.submit(path)
            group.loop.submit(path_on_loop)
            group.executor("pool").submit(path)
        return group.results()

    assert app.test_client().get("/ann").json == ["/ann"] * 3


def test_an_async_view_awaits_its_group(app: Flask, concurrency: Concurrency) -> None:
    """On the loop that all async views share, which its coroutines run on as well."""

    @app.get("/<name>")
    async def fan_out(name: str) -> list[str]:
        async with concurrency.task_group(timeout=30) as group:
            first = group.threads.submit(path)
            group.loop.submit(path_on_loop)
            assert await first == request.path
        return group.results()

    assert app.test_client().get("/ann").json == ["/ann"] * 2


def test_an_error_handler_sees_the_error_of_a_task(app: Flask, concurrency: Concurrency) -> None:
    """Not a group of errors: ``KeyError`` is handled as if the view had raised it."""

    @app.get("/")
    def fails() -> list[str]:
        with concurrency.task_group() as group:
            group.threads.submit(dict[str, str]().__getitem__, "missing")
            group.threads.submit(path)
        return group.results()

    @app.errorhandler(KeyError)
    def missing(error: KeyError) -> tuple[str, int]:
        return error.__notes__[0], 418

    answer = app.test_client().get("/")
    assert answer.status_code == 418
    assert answer.text == "Raised by task #1 __getitem__ (KeyError('missing')) of 2 in a group."


def test_a_group_has_no_more_time_than_its_request(app: Flask, concurrency: Concurrency) -> None:
    """And no less than it says."""

    @app.get("/")
    @concurrency.deadline(100)
    def view() -> list[bool]:
        with concurrency.task_group(timeout=1_000) as wide:
            wide.threads.submit(concurrency.remaining)
        with concurrency.task_group(timeout=50) as narrow:
            narrow.threads.submit(concurrency.remaining)
        return [0 < wide.results()[0] <= 100, 0 < narrow.results()[0] <= 50]

    assert app.test_client().get("/").json == [True, True]


def test_a_group_that_runs_out_of_its_own_time_is_an_error_of_the_view(
    app: Flask, concurrency: Concurrency
) -> None:
    """Which may catch it, and answer with what there is."""

    @app.get("/")
    def view() -> str:
        try:
            with concurrency.task_group(timeout=0) as group:
                group.threads.submit(path)
        except DeadlineExceeded as error:
            return str(error)
        return "in time"

    assert "1 of its 1 tasks had not ended: #1 path" in app.test_client().get("/").text


def test_the_names_are_public(concurrency: Concurrency) -> None:
    """For annotations and tests of users."""
    with concurrency.task_group(policy="settle") as group:
        group.threads.submit(abs, -1)

    assert isinstance(group, TaskGroup)
    assert group.results() == [TaskResult("abs", "done", value=1)]


def test_a_name_leads_to_an_executor(
    app: Flask, concurrency: Concurrency, pool: ThreadPoolExecutor
) -> None:
    """The app's own, or one that was added, before or after the app was."""
    concurrency.add_executor("pool", pool)
    concurrency.add_executor("reports", "pool")

    assert concurrency.executor("threads") is concurrency.threads
    assert concurrency.executor("processes") is concurrency.processes
    found = concurrency.executor("reports")
    assert isinstance(found, ForeignExecutor)
    assert found.wrapped is pool


def test_each_app_has_its_own_names() -> None:
    """What the code adds is for all of them, what one's configuration says is for that one."""
    concurrency = Concurrency()
    concurrency.add_executor("reports", "threads")
    first, second = Flask("first"), Flask("second")
    second.config["CONCURRENCY_EXECUTORS"] = {"reports": "processes"}
    for app in (first, second):
        concurrency.init_app(app)

    with first.app_context():
        assert concurrency.executor("reports") is concurrency.threads
    with second.app_context():
        assert concurrency.executor("reports") is concurrency.processes


def test_a_foreign_executor_that_is_no_pool_of_threads_gets_the_arguments_only(
    app: Flask, concurrency: Concurrency
) -> None:
    """What it runs may be on another machine."""

    class Far(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result((fn, args, kwargs))
            return future

    concurrency.add_executor("far", Far())
    with app.test_request_context("/"):
        received: Any = concurrency.executor("far").submit(pow, 2, exp=3).result()

    assert received == (pow, (2,), {"exp": 3})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["processes"], "CONCURRENCY_EXECUTORS = ['processes']: give a dict of names"),
        ({"threads": "processes"}, "CONCURRENCY_EXECUTORS: 'threads' is the app's own"),
        ({"reports": 8}, "CONCURRENCY_EXECUTORS: Executor 'reports' = 8: give"),
        ({"": "threads"}, "CONCURRENCY_EXECUTORS: An executor's name is a text"),
    ],
)
def test_a_configuration_that_cannot_be_meant_stops_the_app(
    app: Flask, value: object, told: str
) -> None:
    """Naming the key, the value and the remedy."""
    app.config["CONCURRENCY_EXECUTORS"] = value

    with pytest.raises(ConfigurationError) as refused:
        Concurrency(app)
    assert told in str(refused.value)


def test_a_name_is_given_once(concurrency: Concurrency) -> None:
    """The second time is an error where it is written; an unknown one where it is asked for."""
    concurrency.add_executor("reports", "threads")

    with pytest.raises(ConfigurationError, match="'reports' already: 'threads'"):
        concurrency.add_executor("reports", "processes")
    with pytest.raises(ConfigurationError, match="Did you mean 'reports'"):
        concurrency.executor("report")
    with concurrency.task_group() as group, pytest.raises(ConfigurationError, match="no executor"):
        group.executor("report")
