"""Compile which limits a route has, once, so that a request only has to look its gate up.

Knows declarations and where they came from; knows no request and no Flask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import NOBODY, Limiter
from flask_concurrency.engine.declaration import Declaration, Origin
from flask_concurrency.stores.store import Store
from flask_concurrency.vocabulary.limits import InFlight, Limit


@dataclass(frozen=True, slots=True)
class Source:
    """One declaration, with where it stands.

    :ivar origin: How wide it reaches.
    :ivar declaration: What was declared.
    """

    origin: Origin
    declaration: Declaration


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of one endpoint and method, ready to be asked.

    :ivar gate: What to ask on arrival; ``None`` where nothing applies.
    """

    gate: Gate | None


def everybody() -> str:
    """Count all requests together."""
    return NOBODY


def compile_plan(
    sources: Sequence[Source],
    *,
    endpoint: str | None,
    method: str,
    key: Callable[[], object],
    store: Store,
) -> Plan:
    """Choose and name the limiters of one route.

    :param sources: Every declaration that reaches the route, widest first.
    :param endpoint: The route, or ``None`` where the URL matches none.
    :param method: The request's HTTP method.
    :param key: Who is counted where a declaration does not say.
    """
    applicable = _applicable(sources, method)
    limiters = []
    names: Counter[str] = Counter()
    for source in sources:  # all of them are named, so a limit's count is the same for any method
        declared = source.declaration
        for limit in declared.limits:
            name = f"{declared.name or source.origin}:{limit.text}"
            names[name] += 1
            if names[name] > 1:
                name = f"{name} ({names[name]})"
            if source not in applicable:
                continue
            limiters.append(
                Limiter(
                    name=name,
                    id="\x1f".join((*_scope(source, endpoint), name, _algorithm(limit))),
                    limit=limit,
                    key=declared.key or (everybody if isinstance(limit, InFlight) else key),
                    cost=declared.cost,
                    exempt_when=declared.exempt_when,
                )
            )
    return Plan(Gate(limiters, store) if limiters else None)


def _applicable(sources: Iterable[Source], method: str) -> list[Source]:
    """Leave out other methods' declarations, and what a narrower one replaces."""
    chosen: list[Source] = []
    for source in sources:
        methods = source.declaration.methods
        if methods is not None and method not in methods:
            continue
        if source.declaration.replace:
            chosen = [kept for kept in chosen if kept.origin in ("app", source.origin)]
        chosen.append(source)
    return chosen


def _scope(source: Source, endpoint: str | None) -> tuple[str, ...]:
    """Whose count it is: a name's, the whole app's, or this route's own."""
    if source.declaration.name is not None:
        return ("name", source.declaration.name)
    if source.origin == "app":
        return ("app",)
    return (source.origin, endpoint or "")


def _algorithm(limit: Limit) -> str:
    return "in-flight" if isinstance(limit, InFlight) else limit.algorithm
