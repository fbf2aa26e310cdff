"""What is said about a route's limits, and that it is what the plan does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.engine.declaration import Declaration, Origin
from flask_concurrency.engine.explanation import ExplainedLimit, explain, spell
from flask_concurrency.engine.plan import Source, compile_plan
from flask_concurrency.keys import header
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.vocabulary.limits import read_limits

EVERY_WAY: tuple[tuple[Origin, str, dict[str, Any]], ...] = (
    ("app", "1000/hour", {}),
    ("default", "100/day; 10/hour", {}),
    ("blueprint", "50/day", {"replace": True}),
    ("route", "5/minute", {"methods": frozenset({"POST"})}),
    ("route", "4 in flight; 5/minute", {"name": "sms"}),
)


def client() -> str:
    return "client"


def units() -> int:
    return 3


def source(origin: Origin, text: str, **options: Any) -> Source:
    return Source(origin, Declaration(read_limits(text), **options))


def only(*sources: Source, method: str = "GET") -> ExplainedLimit:
    (limit,) = explain(sources, method=method, key=client).limits
    return limit


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_explained_is_what_is_asked(method: str) -> None:
    """Names and order of the applying limits are those of the compiled gate."""
    sources = [source(origin, text, **options) for origin, text, options in EVERY_WAY]
    plan = compile_plan(sources, endpoint="v", method=method, key=client, store=MemoryStore())
    assert plan.arrival is not None
    explanation = explain(sources, method=method, key=client)
    assert [limit.name for limit in explanation.applying] == [
        limiter.name for limiter in plan.arrival.limiters if isinstance(limiter, Limiter)
    ]


def test_a_replaced_limit_stays_visible() -> None:
    """A reader who misses a default learns what replaced it."""
    explanation = explain(
        [source("default", "100/day"), source("route", "5/minute", replace=True)],
        method="GET",
        key=client,
    )
    assert [limit.left_out for limit in explanation.limits] == ["replaced by route", None]


def test_another_methods_limit_stays_visible() -> None:
    """It says for which methods it is, and that alone keeps it from applying."""
    limit = only(source("route", "5/minute", methods=frozenset({"PUT", "POST"})))
    assert limit.left_out == "only POST, PUT"
    assert limit.methods == ("POST", "PUT")


def test_another_methods_limit_replaces_nothing() -> None:
    """``replace`` counts only where its limit does."""
    sources = [
        source("default", "100/day"),
        source("route", "5/minute", replace=True, methods=frozenset({"POST"})),
    ]
    assert [limit.left_out for limit in explain(sources, method="GET", key=client).limits] == [
        None,
        "only POST",
    ]


def test_exempt_leaves_nothing() -> None:
    """Every limit that would apply is shown as left out."""
    explanation = explain([source("app", "9/day")], method="GET", key=client, exempt=True)
    assert explanation.exempt
    assert explanation.applying == ()
    assert explanation.limits[0].left_out == "exempt"


def test_limits_before_the_view_come_last() -> None:
    """They are asked after every limit of the arrival, wherever they were declared."""
    explanation = explain(
        [source("blueprint", "9/day", at="view"), source("route", "5/minute")],
        method="GET",
        key=client,
    )
    assert [(limit.at, limit.limit) for limit in explanation.limits] == [
        ("arrival", "5/minute"),
        ("view", "9/day"),
    ]


def test_numbers_are_for_machines() -> None:
    """Quota and period as numbers; an in-flight limit has neither period nor algorithm."""
    rate = only(source("route", "5/minute"))
    assert (rate.quota, rate.period, rate.algorithm) == (5, 60.0, "sliding-window")
    busy = only(source("route", "8 in flight"))
    assert (busy.quota, busy.period, busy.algorithm) == (8, None, None)


def test_functions_are_named() -> None:
    """Key, cost and exemption are callables; what is shown is their names."""
    limit = only(source("route", "5/minute", cost=units, exempt_when=units))
    assert (limit.key, limit.cost, limit.exempt_when) == ("client", "units", "units")
    assert only(source("route", "8 in flight")).key == "all_requests"


class Tenant:
    def __call__(self) -> str:
        return "tenant"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (client, "client"),
        (header("X-API-Key"), "header('X-API-Key')"),
        (lambda: "", "<lambda>"),
        (Tenant(), "Tenant"),
        (Tenant().__call__, "Tenant.__call__"),
    ],
)
def test_a_function_is_spelled_as_its_author_would(
    function: Callable[[], object], name: str
) -> None:
    """Closures, callable objects and lambdas included."""
    assert spell(function) == name


@pytest.mark.parametrize(
    ("wider", "limit", "hidden"),
    [
        ("5/minute", "100/minute", True),
        ("5/hour", "5/minute", True),
        ("5/minute", "100/hour", False),
        ("100/minute", "5/minute", False),
        ("5/minute", "5/minute", False),
        ("5 in flight", "100/minute", False),
    ],
)
def test_a_limit_that_never_refuses_is_told(wider: str, limit: str, hidden: bool) -> None:
    """A default that allows less refuses before it: it was meant to replace that."""
    explained = explain(
        (source("default", wider), source("route", limit)), method="GET", key=client
    )
    found = {each.name: each.hidden_by for each in explained.limits}
    assert found == {
        f"default:{wider}": None,
        f"route:{limit}": f"default:{wider}" if hidden else None,
    }
