"""The page for users of Quart names what Quart has and Flask has not."""

from __future__ import annotations

import inspect
import re
from typing import Any

import flask
import pytest
import quart
from werkzeug.local import LocalProxy

from flask_concurrency import AsyncWebSocket, Concurrency
from flask_concurrency.flask_app.settings import Settings

PAGE = "docs/how-to/migrate-from-quart.md"
WORD = re.compile(r"[A-Za-z_]+")
INTERNAL = {
    "asgi_http_class",
    "asgi_lifespan_class",
    "asgi_websocket_class",
    "dispatch_websocket",
    "do_teardown_websocket",
    "event_class",
    "finalize_websocket",
    "full_dispatch_websocket",
    "handle_background_exception",
    "handle_request",
    "handle_websocket",
    "handle_websocket_exception",
    "lock_class",
    "postprocess_websocket",
    "preprocess_websocket",
    "test_app_class",
    "websocket_class",
}
"""What Quart's app calls itself, and few apps replace."""
NO_ANSWER = {"close", "stream"}
"""Coroutines of a request that a view does not call, or that only say what to call."""


@pytest.fixture
def rows(pages: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of all tables: there, and here."""
    lines = pages[PAGE].text.splitlines()
    cells = [line.strip("| ").split(" | ", 1) for line in lines if line[:2] == "| "]
    return [(there, here) for there, here in cells if there != "Quart"]


@pytest.fixture
def there(rows: list[tuple[str, str]], pages: dict[str, Any]) -> set[str]:
    """Every word in what the page says of Quart."""
    blueprints = pages[PAGE].text.partition("Blueprints have")[2].partition("\n## ")[0]
    return set(WORD.findall(" ".join([*(row[0] for row in rows), blueprints])))


def public(thing: object) -> set[str]:
    """The names of what it offers."""
    return {name for name in dir(thing) if not name.startswith("_")}


def test_every_await_of_the_module_is_named(there: set[str]) -> None:
    """What is a coroutine function there, and a function here."""
    awaited = {
        name
        for name in public(quart)
        if not isinstance(value := getattr(quart, name), LocalProxy)
        and inspect.iscoroutinefunction(value)
    }
    assert "render_template" in awaited
    assert awaited <= there


def test_every_await_of_a_request_is_named(there: set[str]) -> None:
    """Properties, too."""
    members = {name: inspect.getattr_static(quart.Request, name) for name in public(quart.Request)}
    awaited = {
        name
        for name, member in members.items()
        if inspect.iscoroutinefunction(getattr(member, "fget", member))
    }
    assert {"get_json", "form"} <= awaited
    assert awaited - NO_ANSWER <= there


def test_what_only_quart_has_is_named(there: set[str]) -> None:
    """Of the module, its app, its blueprints, its WebSockets and its configuration."""
    modules = {name for name in public(quart) if inspect.ismodule(getattr(quart, name))}
    only = public(quart) - public(flask) - modules - {"Quart", "Websocket"}
    only |= public(quart.Quart) - public(flask.Flask) - INTERNAL - {"asgi_app"}
    only |= public(quart.Blueprint) - public(flask.Blueprint)
    only |= public(quart.Websocket) - public(quart.Request) - {"buffer_class"}  # for subclasses
    only |= quart.Quart.default_config.keys() - flask.Flask.default_config.keys()

    assert len(only) > 40
    assert only - there == set()


def test_what_is_named_exists_there(rows: list[tuple[str, str]]) -> None:
    """In the version that is installed."""
    owners = {
        "app": quart.Quart,
        "request": quart.Request,
        "websocket": quart.Websocket,
        "response": quart.Response,
        "client": type(quart.Quart("there").test_client()),
    }
    there = " ".join(row[0] for row in rows)
    names = re.findall(r"\b(app|request|websocket|response|client)\.(\w+)", there)

    assert len(names) > 25
    for owner, name in names:
        in_source = f"self.{name} = " in inspect.getsource(owners[owner])
        assert in_source or hasattr(owners[owner], name), f"{owner}.{name}"
    assert hasattr(quart.utils, "run_sync")


def test_what_takes_its_place_exists(rows: list[tuple[str, str]]) -> None:
    """Names of ours are spelled as they are."""
    here = " ".join(row[1] for row in rows)
    concurrency = Concurrency(flask.Flask("here"))

    for chain in set(re.findall(r"`(?:await )?concurrency\.([a-z_.]+)", here)):
        found: Any = concurrency
        for name in chain.split("."):
            found = getattr(found, name)
        assert callable(found), chain
    for name in re.findall(r"\bws\.(\w+)", here):
        assert hasattr(AsyncWebSocket, name), name
    for name in re.findall(r"`CONCURRENCY_([A-Z_]+)`", here):
        assert name.lower() in Settings.__dataclass_fields__, name
