"""Which limits a route has, what they are called, and whose counts they use."""

from __future__ import annotations

from typing import Any

from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.engine.declaration import Declaration, Origin
from flask_concurrency.engine.plan import Source, compile_plan
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.vocabulary.limits import read_limits


def client() -> str:
    return "client"


def source(origin: Origin, text: str, **options: Any) -> Source:
    return Source(origin, Declaration(read_limits(text), **options))


def limiters(
    *sources: Source, endpoint: str | None = "view", method: str = "GET"
) -> tuple[Limiter, ...]:
    plan = compile_plan(sources, endpoint=endpoint, method=method, key=client, store=MemoryStore())
    found = plan.arrival.limiters if plan.arrival else ()
    return tuple(limiter for limiter in found if isinstance(limiter, Limiter))


def names(*sources: Source, **options: Any) -> list[str]:
    return [limiter.name for limiter in limiters(*sources, **options)]


def test_limits_stack_in_the_order_of_their_reach() -> None:
    """A narrower limit adds to the wider ones; nothing disappears by itself."""
    assert names(
        source("app", "1000/hour"),
        source("default", "100/day; 10/hour"),
        source("blueprint", "8 in flight"),
        source("route", "5/minute"),
    ) == [
        "app:1000/hour",
        "default:100/day",
        "default:10/hour",
        "blueprint:8 in flight",
        "route:5/minute",
    ]


def test_replace_leaves_only_the_apps_limits() -> None:
    """``replace`` drops defaults and blueprint limits, and keeps its own origin's."""
    assert names(
        source("app", "1000/hour"),
        source("default", "100/day"),
        source("blueprint", "50/day"),
        source("route", "5/minute", replace=True),
        source("route", "1/second"),
    ) == ["app:1000/hour", "route:5/minute", "route:1/second"]


def test_a_blueprint_may_replace_the_defaults_only() -> None:
    """What a route adds stays."""
    assert names(
        source("default", "100/day"),
        source("blueprint", "50/day", replace=True),
        source("route", "5/minute"),
    ) == ["blueprint:50/day", "route:5/minute"]


def test_other_methods_limits_do_not_apply() -> None:
    """A limit for POST is not asked by GET."""
    sources = (
        source("default", "100/day"),
        source("route", "5/minute", methods=frozenset({"POST"})),
    )
    assert names(*sources, method="GET") == ["default:100/day"]
    assert names(*sources, method="POST") == ["default:100/day", "route:5/minute"]


def test_the_same_text_twice_is_two_limits() -> None:
    """Name and count distinguish them, and they keep both whatever the method is."""
    sources = (
        source("route", "5/minute", methods=frozenset({"GET"})),
        source("route", "5/minute", methods=frozenset({"POST"})),
    )
    assert names(*sources, method="GET") == ["route:5/minute"]
    assert names(*sources, method="POST") == ["route:5/minute (2)"]
    get, post = limiters(*sources, method="GET") + limiters(*sources, method="POST")
    assert get.id != post.id


def test_each_route_counts_for_itself() -> None:
    """Defaults and route limits have their own count on every route, app limits one."""
    sources = (source("app", "9/day"), source("default", "8/day"), source("route", "7/day"))
    here = [limiter.id for limiter in limiters(*sources, endpoint="here")]
    there = [limiter.id for limiter in limiters(*sources, endpoint="there")]
    assert here[0] == there[0]
    assert not set(here[1:]) & set(there[1:])


def test_a_name_shares_its_count() -> None:
    """Two routes that say the same name spend from one quota; another limit of it is another."""
    named = source("route", "5/minute", name="sms")
    (here,) = limiters(named, endpoint="here")
    (there,) = limiters(named, endpoint="there")
    (other,) = limiters(source("route", "6/minute", name="sms"))
    assert here.id == there.id != other.id
    assert here.name == "sms:5/minute"


def test_in_flight_counts_everybody_unless_told_otherwise() -> None:
    """Rates count clients; in-flight limits protect the server."""
    rate, busy, each = limiters(
        source("route", "5/minute; 8 in flight"), source("route", "2 in flight", key=client)
    )
    assert (rate.key(), busy.key(), each.key()) == ("client", "", "client")


def test_a_route_without_limits_has_no_gate() -> None:
    """So a request to it asks no store."""
    assert (
        compile_plan([], endpoint="v", method="GET", key=client, store=MemoryStore()).arrival
        is None
    )
