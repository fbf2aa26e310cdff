"""Priorities: which requests are admitted when not all can be, and what a wrong one does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.keys import header
from standing_queue import Overload


@pytest.fixture
def app() -> Flask:
    """An app with an adaptive limit of one second."""
    app = Flask(__name__)
    app.testing = True
    return app


@pytest.fixture
def concurrency(app: Flask) -> Concurrency:
    """Its extension."""
    return Concurrency(app, app_limits="adaptive")


def statuses(app: Flask, *paths: str, **options: Any) -> list[int]:
    """What each path is answered."""
    return [app.test_client().get(path, **options).status_code for path in paths]


def add(app: Flask, path: str, decorate: Callable[[Any], Any] = lambda view: view) -> None:
    """A view that says yes."""

    def view(**arguments: object) -> str:
        return "yes"

    app.add_url_rule(path, endpoint=path, view_func=decorate(view))


def test_who_matters_more_may_be_older(app: Flask, concurrency: Concurrency) -> None:
    """With a queue of 150 ms and a target of 100, critical and high requests are admitted."""
    for priority in ("critical", "high", "normal", "low"):
        add(app, f"/{priority}", concurrency.priority(priority))
    add(app, "/unsaid")
    paths = ("/critical", "/high", "/normal", "/low", "/unsaid")
    told = Overload(app)
    told.stand(age=0.15)
    assert statuses(app, *paths) == [200, 200, 503, 503, 503]
    told.stand(age=0.35)
    assert statuses(app, *paths) == [200, 503, 503, 503, 503]
    told.stand(age=0.07)
    assert statuses(app, *paths) == [200, 200, 200, 503, 200]
    told.stand(age=0.5)
    assert statuses(app, *paths) == [503] * 5


def test_the_narrowest_priority_wins(app: Flask, concurrency: Concurrency) -> None:
    """A blueprint's goes for its views, a view's own before it, a method's before that."""
    blueprint = concurrency.priority("low")(Blueprint("b", __name__))
    blueprint.add_url_rule("/b/low", view_func=lambda: "yes", endpoint="low")

    @blueprint.get("/b/critical/<int:number>")
    @concurrency.priority("critical")
    def critical(number: int) -> str:
        return "yes"

    class Both(MethodView):
        def get(self) -> str:
            return "yes"

        @concurrency.priority("critical")
        def post(self) -> str:
            return "yes"

    blueprint.add_url_rule("/b/both", view_func=Both.as_view("both"))
    app.register_blueprint(blueprint)
    Overload(app).stand(age=0.35)
    assert statuses(app, "/b/low", "/b/critical/7", "/b/both") == [503, 200, 503]
    assert app.test_client().post("/b/both").status_code == 200


def test_a_function_may_choose(app: Flask, concurrency: Concurrency) -> None:
    """It is called in a context of the request, and only where it makes a difference."""
    asked: list[str] = []

    def by_plan() -> Any:
        asked.append(request.path)
        return "critical" if request.headers.get("X-Plan") == "gold" else "low"

    add(app, "/pay", concurrency.priority(by_plan))
    told = Overload(app)
    assert statuses(app, "/pay") == [200]
    assert asked == []
    told.stand(age=0.35)
    assert statuses(app, "/pay") == [503]
    assert statuses(app, "/pay", headers={"X-Plan": "gold"}) == [200]
    assert asked == ["/pay", "/pay"]


@pytest.mark.parametrize("answer", ["urgent", 7, None, RuntimeError("no plan")])
def test_a_function_that_fails_makes_a_request_normal(
    app: Flask,
    concurrency: Concurrency,
    caplog: pytest.LogCaptureFixture,
    answer: Any,
) -> None:
    """One line of the log says so; never a 500, never all requests refused."""

    def choose() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    add(app, "/pay", concurrency.priority(choose))
    told = Overload(app)
    told.stand(age=0.07)
    with caplog.at_level(logging.WARNING, logger="flask_concurrency.overload"):
        assert statuses(app, "/pay", "/pay", "/pay") == [200, 200, 200]
    assert len(caplog.records) == 1
    told.stand(age=0.35)
    assert statuses(app, "/pay") == [503]


@pytest.mark.parametrize("priority", ["urgent", "", None, 1, True, "CRITICAL", ["low"]])
def test_an_unknown_priority_is_refused_where_it_is_written(
    concurrency: Concurrency, priority: Any
) -> None:
    """The message names the four there are."""
    with pytest.raises(ConfigurationError, match="'critical', 'high', 'normal', 'low'"):
        concurrency.priority(priority)


def test_an_async_function_cannot_choose(concurrency: Concurrency) -> None:
    """No loop sees the request before it is admitted."""

    async def choose() -> Any:
        return "critical"

    with pytest.raises(ConfigurationError, match="coroutine"):
        concurrency.priority(choose)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Request-Start": "t=9999999999.0"},
        {"X-Request-Start": "t=1.0"},
        {"X-Priority": "critical"},
        {"Priority": "u=0"},
        {"X-Forwarded-For": "127.0.0.1"},
    ],
)
def test_a_client_cannot_make_itself_matter(
    app: Flask, concurrency: Concurrency, headers: dict[str, str]
) -> None:
    """No header makes a request younger, older or more important."""
    add(app, "/")
    told = Overload(app)
    told.stand(age=0.15)
    assert statuses(app, "/", headers=headers) == [503]
    told.ages.age = 0.0
    assert statuses(app, "/", headers=headers) == [200]


def test_a_greedy_client_is_refused_first(app: Flask) -> None:
    """While a queue stands, who had far more than others has half the patience."""
    Concurrency(app, app_limits="adaptive", key=header("X-Client"))
    add(app, "/")
    told = Overload(app)
    told.stand(age=0.04)
    now = 1_000.0
    told.control.clock = lambda: now
    for number in range(60):
        now += 0.01
        statuses(app, "/", headers={"X-Client": f"small {number % 10}"})
        statuses(app, "/", headers={"X-Client": "greedy"})
        statuses(app, "/", headers={"X-Client": "greedy"})
    told.stand(age=0.07)
    assert statuses(app, "/", headers={"X-Client": "greedy"}) == [503]
    assert statuses(app, "/", headers={"X-Client": "small 1"}) == [200]


def test_a_key_that_fails_counts_no_share(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """The request is admitted or refused as if it had none."""

    def broken() -> str:
        raise RuntimeError("no key")

    Concurrency(app, app_limits="adaptive", key=broken)
    add(app, "/")
    told = Overload(app)
    told.stand(age=0.07)
    assert statuses(app, "/", "/") == [200, 200]
    told.stand(age=0.35)
    assert statuses(app, "/") == [503]
