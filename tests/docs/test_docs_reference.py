"""The reference pages name what the code has, no more and no less."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from typing import Any

import click
import pytest

import flask_concurrency
from flask_concurrency import Refusal
from flask_concurrency.cli.group import concurrency as group
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.jobs.options import JobOptions
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.vocabulary import errors
from flask_concurrency.vocabulary.limits import ALGORITHMS

FLAG = re.compile(r"(?<!\w)--?[a-z-]+")
ROW = re.compile(r"^\| `(?P<first>[^|]+)` \|(?P<rest>.*)\|$", re.MULTILINE)
OURS = {"carry", "on_first_task", "on_task_end", "clock", "timekeeper", "task_context"}
"""Options of an executor that are not for the configuration."""
OF_THE_APP = {"CONCURRENCY_PROCESSES": {"app"}}
"""Options of the configuration from which one of the executor's is made."""
INTERNAL = {"ask_for_sign", "begin_anew", "submit_in", "submit_with_callback"}
"""Methods that only our own code calls."""


def rows(text: str) -> dict[str, list[str]]:
    """The cells of every table row that begins with code, by that code."""
    return {
        row["first"]: [cell.strip().strip("`") for cell in row["rest"].split("|")]
        for row in ROW.finditer(text)
    }


def test_every_configuration_key_is_on_its_page_with_its_default(pages: dict[str, Any]) -> None:
    """A new key, a lost key or a changed default is noticed here."""
    documented = {
        key: cells[1]
        for key, cells in rows(pages["docs/reference/configuration.md"].text).items()
        if key.startswith("CONCURRENCY_")
    }

    assert documented == {
        f"CONCURRENCY_{setting.name.upper()}": _default(setting) for setting in fields(Settings)
    }


def _default(setting: Any) -> str:
    if setting.default is not MISSING:
        return repr(setting.default).replace("'", '"')
    return repr(setting.default_factory())


@pytest.mark.parametrize(
    ("heading", "executor"),
    [("CONCURRENCY_THREADS", ThreadExecutor), ("CONCURRENCY_PROCESSES", ProcessExecutor)],
)
def test_every_option_of_an_executor_is_on_the_page(
    pages: dict[str, Any], heading: str, executor: type
) -> None:
    """Its section has a row for each option, and for nothing else."""
    text = pages["docs/reference/configuration.md"].text.partition(f"## `{heading}`")[2]
    section = text.partition("\n## ")[0]

    documented = {option for row in rows(section) for option in re.findall(r"\w+", row)}

    options = set(inspect.signature(executor).parameters) - OURS
    assert documented == options | OF_THE_APP.get(heading, set())


def test_every_option_of_jobs_is_on_the_page(pages: dict[str, Any]) -> None:
    """Its section has a row for each option with its default, and for nothing else."""
    text = pages["docs/reference/configuration.md"].text.partition("## `CONCURRENCY_JOBS`")[2]
    documented = rows(text.partition("\n## ")[0])

    assert set(documented) == {option.name for option in fields(JobOptions)}
    for option in fields(JobOptions):
        if isinstance(option.default, int | float):
            assert documented[option.name][0] == repr(option.default)


def test_every_option_of_job_is_on_its_page(pages: dict[str, Any]) -> None:
    """Its section has a row for each keyword, and for nothing else."""
    text = pages["docs/reference/jobs.md"].text.partition("## `@concurrency.job")[2]
    section = text.partition("\n## ")[0]
    parameters = inspect.signature(flask_concurrency.Concurrency.job).parameters.values()

    documented = {option for row in rows(section) for option in re.findall(r"\w+", row)}
    assert documented == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_every_option_of_limit_is_on_its_page(pages: dict[str, Any]) -> None:
    """Its section has a row for each keyword, and for nothing else."""
    text = pages["docs/reference/limits.md"].text.partition("## `concurrency.limit(")[2]
    section = text.partition("\n## ")[0]
    parameters = inspect.signature(flask_concurrency.Concurrency.limit).parameters.values()

    assert set(rows(section)) == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_every_algorithm_is_on_its_page(pages: dict[str, Any]) -> None:
    """The table of ``Rate`` has a row for each."""
    documented = rows(pages["docs/reference/limits.md"].text)

    assert set(ALGORITHMS) <= {name.strip('"') for name in documented}


def test_every_option_of_cors_is_on_its_page(pages: dict[str, Any]) -> None:
    """The how-to has a row for each keyword, and for nothing else."""
    parameters = inspect.signature(flask_concurrency.Concurrency.cors).parameters.values()

    assert set(rows(pages["docs/how-to/cors.md"].text)) == {
        p.name for p in parameters if p.kind is p.KEYWORD_ONLY
    }


@pytest.mark.parametrize("command", sorted(group.commands))
def test_every_option_of_a_command_is_on_its_page(pages: dict[str, Any], command: str) -> None:
    """Its section has a row for each option, and for nothing else."""
    text = pages["docs/reference/command-line.md"].text
    found, section = text.partition(f"\n## `flask concurrency {command}")[1:]
    section = section.partition("\n## ")[0]
    options = [
        flag
        for parameter in group.commands[command].params
        if isinstance(parameter, click.Option)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    ]

    documented = {flag for row in ROW.finditer(section) for flag in FLAG.findall(row["first"])}

    assert found
    assert documented == set(options)


@pytest.mark.parametrize(
    ("heading", "executors"),
    [("`threads` and", [ThreadExecutor, ProcessExecutor]), ("`loop`", [LoopThread])],
)
def test_every_method_of_an_executor_is_on_its_page(
    pages: dict[str, Any], heading: str, executors: list[type]
) -> None:
    """Its section has a row for each public method."""
    text = pages["docs/reference/executors.md"].text
    section = text.partition(f"## {heading}")[2].partition("\n## ")[0]
    methods = {
        name
        for executor in executors
        for name, _ in inspect.getmembers(executor, inspect.isfunction)
        if not name.startswith("_")
    }

    documented = {re.split(r"[( ]", row.removeprefix("await "))[0] for row in rows(section)}

    assert documented == methods - INTERNAL


def test_the_tree_of_errors_is_the_one_in_the_code(pages: dict[str, Any]) -> None:
    """Each line of it stands on the page, and each refusal below it."""
    documented = pages["docs/reference/errors.md"].blocks("text")[0]
    tree = [line[4:] for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    refusals = ["Refusal", *(refused.__name__ for refused in Refusal.__subclasses__())]

    assert documented.startswith("\n".join(tree))
    assert [name for name in refusals if not re.search(rf"\b{name}\b", documented)] == []
