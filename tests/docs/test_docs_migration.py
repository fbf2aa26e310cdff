"""The page for users of Flask-Limiter names all of it, and is right about it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import flask_limiter
import limits
import pytest
from flask_limiter import Limiter
from flask_limiter.constants import ConfigVars

import flask_concurrency
from flask_concurrency import Concurrency, InFlight, Rate
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.vocabulary.limits import ALGORITHMS, read_limits

PAGE = "docs/how-to/migrate-from-flask-limiter.md"
CODE = re.compile(r"`([^`]+)`")
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def sections(pages: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The rows of each section's tables, by the section's title: there, and here."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in pages[PAGE].text.split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        rows = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line[:1] == "|"]
        found[title] = [(row[0], row[-1]) for row in rows]
    return found


def named(rows: list[tuple[str, str]]) -> set[str]:
    """What the left column of a table names."""
    return {name for there, _ in rows for name in CODE.findall(there)}


def options(function: Callable[..., Any]) -> set[str]:
    """The parameters that a caller gives."""
    return set(inspect.signature(function).parameters) - {"self"}


def test_every_argument_of_the_limiter_is_named(sections: dict[str, Any]) -> None:
    """No more and no less."""
    assert named(sections["`Limiter(…)`"]) == options(Limiter.__init__)


def test_every_option_of_a_limit_is_named(sections: dict[str, Any]) -> None:
    """Of ``limit`` and of ``shared_limit``."""
    assert named(sections["`limiter.limit(…)` and `limiter.shared_limit(…)`"]) == (
        options(Limiter.limit) | options(Limiter.shared_limit)
    )


def test_every_configuration_key_is_named(sections: dict[str, Any]) -> None:
    """All thirty."""
    keys = {value for name, value in vars(ConfigVars).items() if name.isupper()}

    assert len(keys) == 30
    assert named(sections["Configuration"]) == keys


def test_every_public_object_is_named(sections: dict[str, Any]) -> None:
    """Methods of the limiter, and what the package exports."""
    names = named(sections["Objects and methods"])

    assert {f"Limiter.{name}" for name in vars(Limiter) if name[0] != "_"} <= names
    assert set(flask_limiter.__all__) - {"Limiter"} <= names


def test_what_takes_its_place_exists(pages: dict[str, Any]) -> None:
    """Configuration keys, and arguments of ours, are spelled as they are."""
    text = pages[PAGE].text
    ours: list[Callable[..., Any]] = [Concurrency, Concurrency.limit, Rate, InFlight]
    theirs = options(Limiter.__init__) | options(Limiter.limit)

    assert {name.lower() for name in re.findall(r"CONCURRENCY_(\w+)", text)} <= {*vars(Settings)}
    known = theirs.union(*map(options, ours))
    assert set(re.findall(r"`(\w+)=", text)) <= known
    for name in ("Rate", "InFlight", "QuotaExceeded", "ServerBusy", "Refusal", "Verdict"):
        assert f"`{name}`" in text
        assert name in flask_concurrency.__all__


@pytest.mark.slow
@pytest.mark.parametrize("chapter", ["spending", "reaching", "telling"])
def test_the_page_quotes_what_both_decide_now(
    pages: dict[str, Any],
    chapter: str,
) -> None:
    """Word for word, as the command prints it."""
    differences = import_module(f"examples.from_flask_limiter.{chapter}").differences()

    block = "\n".join(map(str, differences))
    assert block in pages[PAGE].blocks("text")


def test_the_app_is_limited_as_it_was(pages: dict[str, Any], run_block: Run) -> None:
    """The app of the page, before and after, gives the same answers."""
    before: dict[str, Any] = {"__name__": "shown"}
    code = pages[PAGE].blocks("python")[0].replace("redis://localhost:6379", "memory://")
    exec(code, before)
    after = run_block(PAGE)

    answers = [
        [app.test_client().get(path).status_code for path in ["/slow"] * 2 + ["/ping"] * 11]
        for app in (before["app"], after["app"])
    ]
    assert answers[0] == answers[1] == [200, 429] + [200] * 11


def test_the_old_fields_say_what_is_tightest(run_block: Run) -> None:
    """Limit, what is left, and an instant to come."""
    client = run_block(PAGE, 1)["app"].test_client()

    left = [client.get("/").headers["X-RateLimit-Remaining"] for _ in range(4)]
    refused = client.get("/")

    assert left == ["2", "1", "0", "0"]
    assert refused.status_code == 429
    assert refused.headers["X-RateLimit-Limit"] == "3"
    assert int(refused.headers["X-RateLimit-Reset"]) > 1_700_000_000


TEXTS = [
    "1 per day",
    "10/hour;100/day;2000 per month",
    "100/day, 500/7days",
    "10 per 2 hours",
    "10/2hour",
    "3 PER MINUTE",
    "5 per 1 second",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_mean_the_same(text: str) -> None:
    """Quota and period of every limit in it."""
    theirs = [(limit.amount, limit.get_expiry()) for limit in limits.parse_many(text)]

    ours = [(limit.quota, limit.period) for limit in read_limits(text) if isinstance(limit, Rate)]

    assert ours == theirs


def test_texts_mean_the_same_with_the_exceptions_that_are_named() -> None:
    """The bar, the year, and weeks."""
    assert len(limits.parse_many("10/minute|100/hour")) == 2
    with pytest.raises(flask_concurrency.ConfigurationError):
        read_limits("10/minute|100/hour")
    assert limits.parse("1/year").get_expiry() == 360 * 86_400
    assert Rate("1/year").period == 365 * 86_400
    with pytest.raises(ValueError, match="week"):
        limits.parse("500/week")
    assert Rate("500/week").quota == 500


def test_every_strategy_has_its_algorithm(sections: dict[str, Any]) -> None:
    """And one algorithm has no strategy."""
    rows = dict(sections["Limits, strategies, storages"])
    strategies = set(limits.strategies.STRATEGIES)

    assert {f"`{name}`" for name in strategies} <= set(rows)
    algorithms = {name.strip('"') for row in rows.values() for name in CODE.findall(row)}
    assert set(ALGORITHMS) <= algorithms
