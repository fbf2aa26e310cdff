"""What is configured after ``init_app``, and an ``init_app`` that is forgotten."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_concurrency import Concurrency, ConfigurationError


def create_app(**options: Any) -> Flask:
    app = Flask("shop")
    Concurrency(app, **{"store": "memory://", "default_limits": "1/hour", **options})
    app.get("/")(lambda: "hello")
    return app


def statuses(app: Flask, times: int = 3) -> list[int]:
    return [app.test_client().get("/").status_code for _ in range(times)]


def test_the_fixture_of_flasks_own_pages_switches_limits_off() -> None:
    """``app.config.update`` after the factory, as Flask's page on testing shows."""
    app = create_app()
    app.config.update({"TESTING": True, "CONCURRENCY_ENABLED": False})
    assert statuses(app) == [200, 200, 200]


def test_limits_are_switched_while_an_app_is_in_use() -> None:
    """Tests share an app: each may say whether limits apply, whatever was remembered."""
    app = create_app()
    assert statuses(app) == [200, 429, 429]
    app.config["CONCURRENCY_ENABLED"] = False
    assert statuses(app) == [200, 200, 200]
    app.config["CONCURRENCY_ENABLED"] = True
    assert statuses(app) == [429, 429, 429]
    del app.config["CONCURRENCY_ENABLED"]
    assert statuses(app) == [429, 429, 429]


def test_limits_fields_and_store_are_applied_late() -> None:
    """The first request decides, not ``init_app``."""
    app = create_app()
    app.config.update(
        CONCURRENCY_DEFAULT_LIMITS="2/hour",
        CONCURRENCY_APP_LIMITS="9/hour",
        CONCURRENCY_HEADERS="legacy",
    )
    response = app.test_client().get("/")
    assert (
        response.headers["RateLimit-Policy"]
        == '"app:9/hour";q=9;w=3600, "default:2/hour";q=2;w=3600'
    )
    assert response.headers["X-RateLimit-Limit"] == "2"
    assert statuses(app, 2) == [200, 429]


def test_a_store_is_chosen_late() -> None:
    """A test names memory, whatever the factory said."""
    app = create_app(store="redis://127.0.0.1:1/0")
    app.config["CONCURRENCY_STORE"] = "memory://"
    assert statuses(app) == [200, 429, 429]
    assert app.extensions["concurrency"].store_uri == "memory://"


def test_what_comes_too_late_is_refused_in_the_first_request() -> None:
    """Executors are made by ``init_app``: the message says what to do."""
    app = create_app()
    app.config.update(TESTING=True, CONCURRENCY_THREADS={"max_workers": 1})
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="CONCURRENCY_THREADS was changed after init"):
            app.test_client().get("/")


@pytest.mark.parametrize("key", ["CONCURRENCY_ENABLE", "CONCURRENCY_STOER"])
def test_an_unknown_key_is_found_late_too(key: str) -> None:
    """A typing error is one whenever it is made."""
    app = create_app()
    app.config.update({"TESTING": True, key: False})
    with pytest.raises(ConfigurationError, match=f"Unknown configuration key '{key}'"):
        app.test_client().get("/")


def told(caplog: pytest.LogCaptureFixture, app: Flask) -> list[str]:
    with caplog.at_level(logging.WARNING, logger="flask_concurrency.limits"):
        for _ in range(3):
            app.test_client().get("/")
    return [text for text in caplog.messages if "serves no app" in text]


def test_a_forgotten_init_app_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    """Once, in the first request: limits that apply to nothing are no secret."""
    concurrency = Concurrency()
    app = Flask("shop")
    app.get("/")(concurrency.limit("1/hour")(lambda: "hello"))
    (message,) = told(caplog, app)
    assert "'shop' is in use" in message
    assert "concurrency.init_app(app)" in message


def test_deadlines_and_blueprints_are_heard_too(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was declared, wherever."""
    concurrency = Concurrency()
    blueprint = Blueprint("shop", __name__)
    blueprint.get("/")(lambda: "hello")
    concurrency.deadline(1.0)(blueprint)
    app = Flask("shop")
    app.register_blueprint(blueprint)
    assert len(told(caplog, app)) == 1


def test_an_async_view_without_the_extension_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """Flask would only ask for another package."""
    concurrency = Concurrency()
    app = Flask("shop")

    @app.get("/")
    async def index() -> str:
        return "hello"

    assert "async views do not run on its loop" in "".join(told(caplog, app))
    del concurrency


def test_an_app_without_declarations_hears_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An extension may wait for its app while others are in use."""
    concurrency = Concurrency()
    app = Flask("shop")
    app.get("/")(lambda: "hello")
    assert told(caplog, app) == []
    concurrency.init_app(app)
    assert told(caplog, app) == []
