"""A name stands for an executor, for one that is made when needed, or for another name."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_concurrency.executors.foreign_executor import ForeignExecutor
from flask_concurrency.executors.named_executors import NamedExecutors
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.executor_names import check_meaning


class Unstarted(ThreadPoolExecutor):
    """A pool that never starts a thread."""


@pytest.fixture
def threads() -> ThreadExecutor:
    return ThreadExecutor(1)


def test_a_name_leads_to_its_executor(threads: ThreadExecutor) -> None:
    """Ours as they are, others with deadlines and counts; the same one each time."""
    other = Unstarted()
    names = NamedExecutors(
        {"threads": threads}, added={"other": other, "mine": threads, "alias": "other"}
    )

    assert names.get("threads") is threads
    assert names.get("mine") is threads
    found = names.get("other")
    assert isinstance(found, ForeignExecutor)
    assert (found.wrapped, found.name) == (other, "other")
    assert names.get("other") is names.get("alias") is found
    assert names.made() == {"other": found}


def test_the_configuration_wins_over_the_code(threads: ThreadExecutor) -> None:
    """So a deployment moves a task without a change of code."""
    names = NamedExecutors(
        {"threads": threads}, added={"reports": Unstarted()}, configured={"reports": "threads"}
    )

    assert names.get("reports") is threads


def test_a_name_may_lead_to_one_that_is_added_later(threads: ThreadExecutor) -> None:
    """The configuration is read before the code adds its own."""
    added: dict[str, Any] = {}
    names = NamedExecutors({"threads": threads}, added=added, configured={"reports": "cluster"})
    added["cluster"] = "threads"

    assert names.get("reports") is threads


def test_a_factory_is_called_once_when_it_is_first_needed(threads: ThreadExecutor) -> None:
    """Under any of its names; and again in a forked child."""
    made: list[Unstarted] = []

    def make() -> Unstarted:
        made.append(Unstarted())
        return made[-1]

    names = NamedExecutors({"threads": threads}, added={"pool": make, "alias": "pool"})
    assert made == []
    assert names.get("alias") is names.get("pool") is names.get("alias")
    assert len(made) == 1


@pytest.mark.slow
def test_a_forked_child_makes_its_own(threads: ThreadExecutor) -> None:
    """The threads that its parent's factory started do not run there."""
    names = NamedExecutors({"threads": threads}, added={"pool": Unstarted})
    parents = names.get("pool")

    child = os.fork()
    if child == 0:
        os._exit(0 if names.made() == {} and names.get("pool") is not parents else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert names.get("pool") is parents


@pytest.mark.parametrize(
    ("configured", "asked", "told"),
    [
        ({}, "thread", "no executor 'thread'. Did you mean 'threads'?"),
        ({}, "dask", "Known are 'threads'; add one with concurrency.add_executor('dask', exec"),
        ({"a": "b"}, "a", "no executor 'b', which 'a' stands for"),
        ({"a": "b", "b": "a"}, "a", "'a' stands for itself: 'a' -> 'b' -> 'a'"),
        ({"a": "a"}, "a", "'a' stands for itself: 'a' -> 'a'"),
        ({"a": dict}, "a", "factory of executor 'a' made {}"),
        ({}, "loop", "use concurrency.loop"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_do(
    threads: ThreadExecutor, configured: dict[str, Any], asked: str, told: str
) -> None:
    """Naming what was asked for, and what there is."""
    names = NamedExecutors({"threads": threads}, configured=configured)

    with pytest.raises(ConfigurationError) as refused:
        names.get(asked)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("", "threads"),
        (1, "threads"),
        ("threads", "processes"),
        ("loop", "processes"),
        ("reports", None),
        ("reports", 8),
    ],
)
def test_what_cannot_be_a_name_or_an_executor_is_refused(name: object, meaning: object) -> None:
    """When it is given, not when it is used."""
    with pytest.raises(ConfigurationError, match=repr(name)):
        check_meaning(name, meaning)
