"""The page that says what is changed on an app names all of it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import flask
from flask import Flask

from flask_concurrency import Concurrency

PAGE = Path(__file__).parents[2] / "docs/explanation/what-we-change.md"


def said() -> set[str]:
    """The attributes of the app that the page's tables name with a change."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    changed = [row for row in rows if not row.rstrip(" |").endswith("nothing")]
    return set(re.findall(r"`app\.(\w+)", " ".join(changed)))


def state(app: Flask) -> dict[str, Any]:
    """What is set on an app, deep enough to see what was added to its registries."""
    own = {name: getattr(app, name) for name in ("wsgi_app", "preprocess_request", "async_to_sync")}
    return {name: repr(value) for name, value in (vars(app) | own).items()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Names whose value is another one."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_init_app_changes_what_the_page_says_and_nothing_else() -> None:
    """A developer who debugs an app must be able to rely on it."""
    app = Flask("shop")
    before = state(app)
    Concurrency(app, default_limits="5/minute")
    found = changed(before, state(app))
    assert found == {
        "extensions",
        "wsgi_app",
        "preprocess_request",
        "async_to_sync",
        "error_handler_spec",
    }
    assert found <= said()


def test_what_is_asked_for_changes_what_the_page_says() -> None:
    """Hooks cost every request, so they come with what needs them."""
    app = Flask("shop")
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("5/minute", at="view")(lambda: "hi"))
    before, view = state(app), app.view_functions["<lambda>"]
    concurrency.cors(app, origins="https://shop.example")
    assert changed(before, state(app)) == {"after_request_funcs"}
    app.test_client().get("/")
    assert app.view_functions["<lambda>"] is not view
    assert inspect.unwrap(app.view_functions["<lambda>"]) is inspect.unwrap(view)
    assert {"after_request_funcs", "view_functions", "teardown_request_funcs"} <= said()


def test_nothing_of_flask_itself_is_changed() -> None:
    """Another app in the process, and its tests, find Flask as it was."""
    parts: list[Any] = [flask, Flask, flask.Blueprint, flask.Request, flask.Response]
    before = [dict(vars(part)) for part in parts]
    app = Flask("shop")
    concurrency = Concurrency(app, default_limits="5/minute")
    concurrency.cors(app, origins="https://shop.example")
    concurrency.asgi_app(app)
    app.test_client().get("/")
    assert [dict(vars(part)) for part in parts] == before
