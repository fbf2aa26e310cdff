"""The page for users of Flask-Executor names all of it, and is right about it."""

from __future__ import annotations

import concurrent.futures
import inspect
import re
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from flask import Flask, g, request

from flask_concurrency import Concurrency, TaskGroup
from flask_concurrency.executors.groups.policy import POLICIES
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.settings import Settings

PAGE = "docs/how-to/migrate-from-flask-executor.md"
CODE = re.compile(r"`([^`]+)`")
RUNNING, FUTURES, HELPERS = (
    import_module(f"flask_executor.{name}") for name in ("executor", "futures", "helpers")
)
Executor = RUNNING.Executor


@pytest.fixture
def sections(pages: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The rows of each section's table, by the section's title: there, and here."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in pages[PAGE].text.split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        rows = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line[:1] == "|"]
        found[title] = [(row[0], row[-1]) for row in rows]
    return found


def named(rows: list[tuple[str, str]]) -> set[str]:
    """What the left column of a table names."""
    return {name for there, _ in rows for name in CODE.findall(there)}


def own(module: ModuleType) -> set[str]:
    """The public classes and functions that a module defines."""
    return {
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    }


def methods(kind: type) -> set[str]:
    """The public methods that a class defines."""
    return {name for name in vars(kind) if name[0] != "_"}


def test_every_name_of_an_executor_is_named(sections: dict[str, Any]) -> None:
    """Its arguments, its methods, and what it has as an object."""
    attributes = {name for name in vars(Executor(Flask(__name__))) if not name.startswith("_")}
    arguments = set(inspect.signature(Executor.__init__).parameters) - {"self"}
    there = named(sections["`Executor`"]) - {"Executor(app, name)"}

    assert there == attributes | arguments | methods(Executor) | {"shutdown"}


def test_every_other_name_is_named(sections: dict[str, Any]) -> None:
    """Classes with their methods, and functions."""
    names = {name for module in (RUNNING, FUTURES, HELPERS) for name in own(module)} - {"Executor"}
    for kind in (RUNNING.ExecutorJob, FUTURES.FutureProxy, FUTURES.FutureCollection):
        names |= {f"{kind.__name__}.{method}" for method in methods(kind)}

    assert named(sections["Other names"]) - {"FutureCollection.max_length"} == names


def test_every_configuration_key_is_named(sections: dict[str, Any]) -> None:
    """All five."""
    keys = {key for key in vars(Executor()) if key.startswith("EXECUTOR_")}

    assert len(keys) == 5
    assert named(sections["Configuration"]) == keys


def test_what_takes_its_place_exists(pages: dict[str, Any]) -> None:
    """Configuration keys, methods, policies and options are spelled as they are."""
    text = pages[PAGE].text

    assert {key.lower() for key in re.findall(r"CONCURRENCY_(\w+)", text)} <= {*vars(Settings)}
    assert all(hasattr(ThreadExecutor, name) for name in re.findall(r"threads\.(\w+)", text))
    assert all(hasattr(TaskGroup, name) for name in re.findall(r"group\.(\w+)\.submit", text))
    assert set(re.findall(r'policy="(\w+)"', text)) <= set(POLICIES)
    options = inspect.signature(ThreadExecutor).parameters
    assert set(re.findall(r'\{"(\w+)": \d+\}', text)) <= set(options)
    assert all(hasattr(concurrent.futures, name) for name in ("wait", "as_completed"))


def test_five_things_change(pages: dict[str, Any]) -> None:
    """As the page says."""
    list_of_them = pages[PAGE].text.partition("## Look at these first")[2].partition("\n## ")[0]

    assert re.findall(r"^(\d)\. ", list_of_them, re.MULTILINE) == ["1", "2", "3", "4", "5"]


def test_a_task_has_the_request_and_a_g_of_its_own() -> None:
    """There ``g`` is a copy of the view's."""
    app = Flask(__name__)
    theirs, ours = Executor(app), Concurrency(app)

    def look() -> tuple[str, bool]:
        return request.path, "user" in g

    with app.test_request_context("/ada"):
        g.user = "ada"
        assert theirs.submit(look).result() == ("/ada", True)
        assert ours.threads.submit(look).result() == ("/ada", False)
    theirs.shutdown()


def test_a_task_may_be_submitted_outside_of_a_request() -> None:
    """There it is an error."""
    app = Flask(__name__)
    theirs, ours = Executor(app), Concurrency(app)

    with pytest.raises(RuntimeError, match="context"):
        theirs.submit(abs, -1)
    assert ours.threads.submit(abs, -1).result() == 1
