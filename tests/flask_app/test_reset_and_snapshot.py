"""Counts that are read and forgotten in code."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from flask import Flask, g, request
from werkzeug.routing import Rule

from flask_concurrency import Concurrency, ConfigurationError
from flask_concurrency.flask_app.app_state import AppState


def make_app(store: str = "memory://") -> tuple[Flask, Concurrency]:
    app = Flask("shop")
    app.config["CONCURRENCY_STORE"] = store
    concurrency = Concurrency(app)

    @app.get("/")
    @concurrency.limit("2/hour", key=lambda: request.args["user"])
    def index() -> str:
        return "hello"

    @app.get("/login")
    @concurrency.limit("1/hour", key=lambda: request.args["user"], name="login")
    def login() -> str:
        if "right" in request.args:
            concurrency.reset(request.args["user"], name="login")
        return "welcome"

    return app, concurrency


def status(app: Flask, url: str) -> int:
    with app.test_client().get(url) as response:
        return response.status_code


@pytest.mark.parametrize("store", ["memory://", "host://"])
def test_a_right_password_forgets_what_was_tried(store: str) -> None:
    """Only that user's count, and only under that name."""
    app, concurrency = make_app(store)
    assert status(app, "/?user=ada") == 200
    assert [status(app, f"/login?user=ada{right}") for right in ("&right", "", "")] == [
        200,
        200,
        429,
    ]
    assert status(app, "/login?user=bob") == 200
    assert concurrency.reset("ada", name="login") == 1
    assert status(app, "/login?user=ada") == 200
    assert status(app, "/login?user=bob") == 429
    assert [status(app, "/?user=ada") for _ in range(2)] == [200, 429]


def test_everything_may_be_forgotten() -> None:
    """Every key of every limit; a refusal that is remembered, too."""
    app = Flask("shop")
    concurrency = Concurrency(app, default_limits="1/hour", store="memory://")
    app.get("/")(lambda: "hello")
    assert [status(app, "/") for _ in range(3)] == [200, 429, 429]
    assert concurrency.reset() == 1
    assert status(app, "/") == 200


def test_a_key_is_what_the_limits_key_gives() -> None:
    """A number is a text by then."""
    app = Flask("shop")
    concurrency = Concurrency(app, store="memory://")

    @app.get("/")
    @concurrency.limit("1/hour", key=lambda: 42)
    def index() -> str:
        return "hello"

    assert [status(app, "/") for _ in range(2)] == [200, 429]
    assert concurrency.reset(42, name="route:1/hour") == 1
    assert status(app, "/") == 200


def test_blocks_and_chosen_limits_of_this_process_are_forgotten() -> None:
    """They stand on no route; what was asked is known."""
    app = Flask("shop")
    concurrency = Concurrency(app, store="memory://")

    @app.get("/block")
    def block() -> str:
        with concurrency.limit("1/hour", name="sms", key=lambda: "ada"):
            return "sent"

    @app.get("/chosen")
    @concurrency.limit(lambda: "1/hour", key=lambda: "ada")
    def chosen() -> str:
        return "found"

    for path in ("/block", "/chosen"):
        assert [status(app, path) for _ in range(2)] == [200, 429]
    assert concurrency.reset("ada") == 2
    assert [status(app, path) for path in ("/block", "/chosen")] == [200, 200]


def test_a_name_alone_is_refused() -> None:
    """Stores find a count by its key."""
    _, concurrency = make_app()
    with pytest.raises(ConfigurationError, match="say whose count"):
        concurrency.reset(name="login")


def test_a_snapshot_is_what_the_command_prints() -> None:
    """Limits and executors, of all processes; frozen, and nothing is spent."""
    app, concurrency = make_app("host://")
    assert status(app, "/?user=ada") == 200
    found = concurrency.snapshot("ada")
    used = {limit.name: limit.used for limit in found.limits}
    assert used == {"route:2/hour": 1, "login:1/hour": 0}
    assert {limit.name: limit.used for limit in concurrency.snapshot("ada").limits} == used
    assert concurrency.snapshot().limits == ()
    json.dumps(asdict(found))


def test_they_are_for_the_app_in_context() -> None:
    """One extension may serve several."""
    concurrency = Concurrency(store="memory://", default_limits="1/hour", key=lambda: g.user)
    apps = [Flask("one"), Flask("two")]
    for app in apps:
        concurrency.init_app(app)
        app.before_request(lambda: None)
    with pytest.raises(RuntimeError, match="serves 2 apps"):
        concurrency.reset("ada")
    with apps[0].app_context():
        assert concurrency.reset("ada") == 0


def test_a_look_at_an_app_in_use_compiles_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is looked at looks once a second, at routes that nobody asks for as well."""
    app, concurrency = make_app()
    compiled: list[object] = []
    compile_route = AppState._compile

    def counted(state: AppState, app: Flask, rule: Rule | None, method: str) -> Any:
        compiled.append((rule and rule.endpoint, method))
        return compile_route(state, app, rule, method)

    monkeypatch.setattr(AppState, "_compile", counted)
    assert status(app, "/?user=ada") == 200
    with app.app_context():
        first = concurrency.snapshot().limits
        seen = len(compiled)
        assert concurrency.snapshot().limits == first
    assert len(compiled) == len(set(compiled)) == seen


def test_a_look_finds_what_a_route_has_chosen_since_the_last_one() -> None:
    """Which limits a request meets may be known in the request alone."""
    app, concurrency = make_app()
    app.get("/chosen")(concurrency.limit(lambda: "7/minute", key=lambda: "all")(lambda: ""))
    assert status(app, "/?user=ada") == 200
    with app.app_context():
        before = {limit.quota for limit in concurrency.snapshot(key="all").limits}
    assert status(app, "/chosen?user=ada") == 200
    with app.app_context():
        after = {limit.quota for limit in concurrency.snapshot(key="all").limits}
    assert after == before | {7}
