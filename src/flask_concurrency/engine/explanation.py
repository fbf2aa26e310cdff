"""Say in plain words and numbers which limits a route has, and why.

Counts nothing and opens nothing; knows no Flask and no terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from flask_concurrency.engine.declaration import Origin, Stage
from flask_concurrency.engine.plan import Candidate, Source, candidates
from flask_concurrency.vocabulary.limits import (
    Adaptive,
    AnyLimit,
    DynamicLimit,
    InFlight,
    Rate,
    Scope,
)


@dataclass(frozen=True, slots=True)
class ExplainedLimit:
    """One limit declared for a route.

    :ivar name: What refusals and header fields call it.
    :ivar limit: The limit in its shortest spelling, such as ``"5/minute"``.
    :ivar origin: Where it was declared.
    :ivar place: The blueprint, or the method of a class, on which it was declared; else empty.
    :ivar shared: The name it shares one count with; ``None`` where it has a count of its own.
    :ivar quota: Units allowed a period, or requests allowed at once; ``None`` where a function
        chooses the limit in each request.
    :ivar period: Seconds; ``None`` for an in-flight limit.
    :ivar algorithm: How a rate is counted; ``None`` for an in-flight limit.
    :ivar key: The function that returns who is counted.
    :ivar scope: ``"process"`` where each process counts by itself; else ``None``.
    :ivar cost: Units a request spends, or the function that says so.
    :ivar methods: HTTP methods it was declared for; ``None`` for all.
    :ivar exempt_when: The function whose true answer lets a request pass; ``None`` for none.
    :ivar at: The stage at which it is asked: ``"arrival"``, ``"view"`` or ``"call"``.
    :ivar charge_when: The function that says whether a response is charged; ``None`` for always.
    :ivar final_cost: The function that says what a response cost; ``None`` for ``cost``.
    :ivar shadow: Whether a refusal is only reported.
    :ivar left_out: Why it does not apply; ``None`` if it does.
    :ivar answer_within: Seconds in which an answer is worth having, of an adaptive limit; ``None``
        of every other.
    :ivar hidden_by: A limit that refuses before it can; ``None`` if there is none.
    """

    name: str
    limit: str
    origin: Origin
    place: str
    shared: str | None
    quota: int | None
    period: float | None
    algorithm: str | None
    key: str
    scope: Scope
    cost: int | str
    methods: tuple[str, ...] | None
    exempt_when: str | None
    at: Stage
    charge_when: str | None
    final_cost: str | None
    shadow: bool
    left_out: str | None
    answer_within: float | None = None
    hidden_by: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every limit declared for one route and method.

    :ivar exempt: Whether the route was exempted from all of them.
    :ivar limits: In the order in which they are asked and reported, those left out included.
    :ivar deadline: Seconds for an answer; ``None`` for any time.
    :ivar priority: How much it matters under overload, or the function that says so.
    """

    exempt: bool
    limits: tuple[ExplainedLimit, ...]
    deadline: float | None = None
    priority: str = "normal"

    @property
    def applying(self) -> tuple[ExplainedLimit, ...]:
        """The limits a request meets."""
        return tuple(limit for limit in self.limits if limit.left_out is None)


def explain(
    sources: Sequence[Source],
    *,
    method: str,
    key: Callable[[], object],
    exempt: bool = False,
    deadline: float | None = None,
    priority: str | Callable[[], object] = "normal",
) -> Explanation:
    """Explain what :func:`~flask_concurrency.engine.plan.compile_plan` makes of the same sources.

    :param sources: Every declaration that reaches the route, widest first.
    :param method: The request's HTTP method.
    :param key: Who is counted where a declaration does not say.
    :param exempt: Whether none of them applies.
    :param deadline: Seconds for an answer; ``None`` for any time.
    :param priority: How much its requests matter, or what says so of each.
    """
    limits = []
    every = list(candidates(sources, method=method, key=key))
    for found in every:
        declared = found.source.declaration
        limit = found.limit
        explained = ExplainedLimit(
            name=found.name,
            limit=limit.text,
            origin=found.source.origin,
            place=found.source.place,
            shared=declared.name,
            quota=None if isinstance(limit, Adaptive | DynamicLimit) else limit.quota,
            period=limit.period if isinstance(limit, Rate) else None,
            algorithm=limit.algorithm if isinstance(limit, Rate) else None,
            key=spell(found.key),
            scope=_scope(limit),
            cost=spell(declared.cost) if callable(declared.cost) else declared.cost,
            methods=None if declared.methods is None else tuple(sorted(declared.methods)),
            exempt_when=None if declared.exempt_when is None else spell(declared.exempt_when),
            at=declared.at,
            charge_when=None if declared.charge_when is None else spell(declared.charge_when),
            final_cost=None if declared.final_cost is None else spell(declared.final_cost),
            shadow=declared.shadow,
            left_out=found.left_out,
            answer_within=limit.deadline if isinstance(limit, Adaptive) else None,
            hidden_by=_hidden_by(found, every),
        )
        limits.append(replace(explained, left_out="exempt") if exempt else explained)
    # As they are asked: adaptive ones before all others.
    limits.sort(key=lambda limit: (limit.answer_within is None, get_args(Stage).index(limit.at)))
    priority = spell(priority) if callable(priority) else priority
    return Explanation(exempt, tuple(limits), deadline, priority)


def _scope(limit: AnyLimit) -> Scope:
    if isinstance(limit, Adaptive):
        return "process"
    return limit.scope if isinstance(limit, InFlight) else None


def _hidden_by(found: Candidate, every: Sequence[Candidate]) -> str | None:
    """A wider rate that allows less, and counts the same clients and at least the same requests."""
    limit = found.limit
    if not isinstance(limit, Rate) or not _is_plain(found):
        return None
    for other in every:
        if other is found:  # what stands narrower, refuses on this route alone
            return None
        stricter = other.limit
        if (
            isinstance(stricter, Rate)
            and _is_plain(other)
            and other.key is found.key
            and (other.source.origin == "app" or found.source.declaration.name is None)
            and (other.source.origin == "app" or other.source.declaration.name is None)
            and stricter.algorithm in ("sliding-window", limit.algorithm)
            and stricter.burst <= limit.burst
            and stricter.quota / stricter.period <= limit.quota / limit.period
            and stricter.quota <= limit.quota
            and stricter.period >= limit.period
            and (stricter.quota, stricter.period) != (limit.quota, limit.period)
        ):
            return other.name
    return None


def _is_plain(found: Candidate) -> bool:
    declared = found.source.declaration
    return (
        found.left_out is None
        and declared.cost == 1
        and not declared.shadow
        and declared.exempt_when is None
        and not declared.settled_by_response
    )


def spell(function: Callable[..., object]) -> str:
    """Name a function as its author would: ``remote_address``, ``header('X-API-Key')``."""
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name.rpartition("<locals>.")[2]
