"""The pages on task groups and other executors name what the code has, and are right about it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, ConfigurationError, TaskGroup, TaskResult
from flask_concurrency.executors.foreign_executor import ForeignSnapshot
from flask_concurrency.executors.groups.policy import POLICIES

REFERENCE = "docs/reference/executors.md"
SERVICES = "docs/how-to/call-several-services.md"
BEYOND = "docs/how-to/beyond-one-machine.md"
CODE = re.compile(r"`([^`]+)`")


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """The names in the first cells of all tables, without parameters."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name.partition("(")[0] for cell in cells for name in CODE.findall(cell)}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_everything_of_a_group_is_on_its_page(pages: dict[str, Any]) -> None:
    """Its options, its members, and what a ``TaskResult`` has; nothing else."""
    options = set(inspect.signature(Concurrency.task_group).parameters) - {"self"}
    results = {field.name for field in fields(TaskResult)} | {"ok", "cancelled"}

    assert (
        first_cells(section(pages[REFERENCE].text, "Task groups"))
        == options | public(TaskGroup) | results
    )


def test_every_policy_has_a_row(pages: dict[str, Any]) -> None:
    """What happens at an error, when time is up, and what the results are."""
    table = section(pages[SERVICES].text, "Which results do you need?")

    assert first_cells(table) - {"policy="} == {f'"{name}"' for name in POLICIES}


def test_everything_of_other_executors_is_on_its_page(pages: dict[str, Any]) -> None:
    """The two methods, and what is known of an executor from outside the library."""
    text = section(pages[REFERENCE].text, "Other executors")

    assert first_cells(text) == {"concurrency.add_executor", "concurrency.executor"}
    assert {field.name for field in fields(ForeignSnapshot)} <= set(CODE.findall(text))


def test_the_note_of_the_first_error_is_the_one_on_the_page(pages: dict[str, Any]) -> None:
    """Word for word."""
    results = [TaskResult("ask", "done") for _ in range(5)]
    error = ValueError("no such city")
    results[1] = TaskResult("ask", "failed", error=error)
    results[3] = results[4] = TaskResult("ask", "cancelled")

    notes = POLICIES["all"].conclude(results, 1).notes

    shown = pages[SERVICES].blocks("text")[0]
    assert shown == "\n".join([f"ValueError: {error}", *notes]) + "\n"


def test_an_unknown_name_is_told_as_on_the_page(pages: dict[str, Any]) -> None:
    """Word for word."""
    concurrency = Concurrency(app := Flask(__name__))
    concurrency.add_executor("reports", "processes")

    with app.app_context(), pytest.raises(ConfigurationError) as refused:
        concurrency.executor("report")
    assert pages[BEYOND].blocks("text")[0] == f"ConfigurationError: {refused.value}\n"


@pytest.mark.parametrize("block", [1, 2, 3])
def test_each_configuration_of_the_page_is_one(pages: dict[str, Any], block: int) -> None:
    """The three lines under "Move a task by the configuration"."""
    line = re.findall(r"^app\.config\[.*$", pages[BEYOND].text, re.MULTILINE)[block - 1]
    app = Flask(__name__)
    exec(line, {"app": app})
    concurrency = Concurrency(app)
    concurrency.add_executor("dask", "threads")

    with app.app_context():
        assert concurrency.executor("reports") in (concurrency.threads, concurrency.processes)


def test_the_page_without_the_slow_service_names_the_others(
    run_block: Callable[..., dict[str, Any]],
) -> None:
    """What is ready in time is shown; how much that is depends on the machine."""
    answer = run_block(SERVICES, 2)["app"].test_client().get("/").json

    assert set(answer) <= {"weather", "news"}
