"""The app's own hooks run after ours, whoever registers them and wherever; without any none is."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Blueprint, Flask

from flask_concurrency import Concurrency


def answered(app: Flask) -> str:
    """What ``/`` says."""
    return app.test_client().get("/").text


def with_page(app: Flask) -> Flask:
    """An app of the extension, with a page of a blueprint."""
    Concurrency(app, store="memory://")
    shop = Blueprint("shop", __name__)
    shop.add_url_rule("/", view_func=lambda: "view")
    app.register_blueprint(shop)
    return app


def test_a_hook_of_the_app_runs() -> None:
    """Registered after the extension, as most are."""
    app = with_page(Flask("hooked"))
    assert answered(app) == "view"
    app = with_page(Flask("hooked"))
    app.before_request(lambda: "hook")
    assert answered(app) == "hook"


def test_a_hook_of_a_blueprint_runs() -> None:
    """For its own requests."""
    app = Flask("hooked")
    Concurrency(app, store="memory://")
    shop = Blueprint("shop", __name__)
    shop.add_url_rule("/", view_func=lambda: "view")
    shop.before_request(lambda: "hook")
    app.register_blueprint(shop)
    assert answered(app) == "hook"


def test_a_url_preprocessor_runs() -> None:
    """Although there is no hook."""
    app = with_page(Flask("hooked"))
    seen: list[str | None] = []
    app.url_value_preprocessor(lambda endpoint, values: seen.append(endpoint))
    answered(app)
    assert len(seen) == 1


@pytest.mark.parametrize("by", ["class", "object"])
def test_an_app_that_preprocesses_in_its_own_way_does(by: str) -> None:
    """Although nothing is registered."""

    class Own(Flask):
        def preprocess_request(self, *context: Any) -> Any:
            return "own"

    app = Own("own") if by == "class" else Flask("own")
    if by == "object":
        app.preprocess_request = lambda *context: "own"  # type: ignore[method-assign]
    assert answered(with_page(app)) == "own"
