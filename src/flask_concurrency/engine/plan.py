"""Compile which limits a route has, once, so that a request only has to look its gate up.

Knows declarations and where they came from; knows no request and no Flask.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from flask_concurrency.admission.adaptive_limit import AdaptiveLimit, Watcher
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import DynamicLimiter, Limiter, all_requests, numbered
from flask_concurrency.admission.waiting_room import WaitingRooms
from flask_concurrency.engine.declaration import Declaration, Origin, Stage
from flask_concurrency.stores.store import Store
from flask_concurrency.vocabulary.limits import Adaptive, AnyLimit, DynamicLimit, InFlight, Limit


@dataclass(frozen=True, slots=True)
class Source:
    """One declaration, with where it stands.

    :ivar origin: How wide it reaches.
    :ivar declaration: What was declared.
    :ivar place: The blueprint on which it stands, or the method of a class; empty elsewhere.
    """

    origin: Origin
    declaration: Declaration
    place: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of one endpoint and method, ready to be asked.

    :ivar arrival: What to ask before every hook; ``None`` where nothing applies.
    :ivar view: What to ask before the view, after all hooks; ``None`` where nothing applies.
    :ivar calls: What to ask where the decorator of a declaration stands.
    :ivar adaptive: Adaptive limits to ask before both, but for those of the app, which are asked
        before its routes are looked at.
    """

    arrival: Gate | None
    view: Gate | None
    calls: Mapping[Declaration, Gate] = field(default_factory=dict)
    adaptive: tuple[AdaptiveLimit, ...] = ()

    @property
    def gates(self) -> Iterator[Gate]:
        """Every gate of the route."""
        yield from (gate for gate in (self.arrival, self.view) if gate is not None)
        yield from self.calls.values()


class AdaptiveLimits:
    """The adaptive limits of one app in this process, each once.

    :param watcher: Told what becomes of them.
    """

    def __init__(self, watcher: Watcher | None = None) -> None:
        self._watcher = watcher
        self._made: dict[str, AdaptiveLimit] = {}
        self._lock = threading.Lock()

    def get(
        self, id: str, limit: Adaptive, *, name: str, route: str = "", shadow: bool = False
    ) -> AdaptiveLimit:
        """The one of an id, made the first time it is asked for."""
        with self._lock:
            made = self._made.get(id)
            if made is None:
                made = self._made[id] = AdaptiveLimit(
                    limit, name=name, route=route, shadow=shadow, watcher=self._watcher
                )
            return made

    def all(self) -> list[AdaptiveLimit]:
        """Those that were made."""
        with self._lock:
            return list(self._made.values())


@dataclass(frozen=True, slots=True)
class Candidate:
    """One limit declared for a route, with what became of it.

    :ivar source: Where it was declared.
    :ivar limit: The limit.
    :ivar name: What refusals and header fields call it; unique within the route.
    :ivar key: Returns who is counted.
    :ivar left_out: Why it does not apply, such as ``"replaced by route"`` or ``"only POST"``;
        ``None`` if it does.
    """

    source: Source
    limit: AnyLimit
    name: str
    key: Callable[[], object]
    left_out: str | None


def candidates(
    sources: Sequence[Source], *, method: str, key: Callable[[], object]
) -> Iterator[Candidate]:
    """Name every limit declared for a route and decide which apply.

    :param sources: Every declaration that reaches the route, widest first.
    :param method: The request's HTTP method.
    :param key: Who is counted where a declaration does not say.
    """
    left_out = _left_out(sources, method)
    names: Counter[str] = Counter()
    # All of them are named, so that a limit's count is the same for any method.
    for source, reason in zip(sources, left_out, strict=True):
        declared = source.declaration
        for limit in declared.limits:
            name = f"{_prefix(source)}:{limit.text}"
            names[name] += 1
            name = numbered(name, names[name])
            counted = _counted(limit, declared.key, key)
            yield Candidate(source, limit, name, counted, reason)


def compile_plan(
    sources: Sequence[Source],
    *,
    endpoint: str | None,
    method: str,
    key: Callable[[], object],
    store: Store,
    rooms: WaitingRooms | None = None,
    adaptive: AdaptiveLimits | None = None,
    exempt: Container[str] | None = None,
) -> Plan:
    """Choose and name the limiters of one route.

    :param sources: Every declaration that reaches the route, widest first.
    :param endpoint: The route, or ``None`` where the URL matches none.
    :param method: The request's HTTP method.
    :param key: Who is counted where a declaration does not say.
    :param rooms: Where requests wait.
    :param exempt: Keys that are not counted for a while.
    :param adaptive: Where adaptive limits learn. Default: nowhere before and after.
    """
    learning = AdaptiveLimits() if adaptive is None else adaptive
    asked_first: list[AdaptiveLimit] = []
    chosen: dict[Stage | Declaration, list[Limiter | DynamicLimiter]] = {"arrival": [], "view": []}
    every = list(candidates(sources, method=method, key=key))
    for found in every:
        if found.left_out is not None:
            continue
        if isinstance(found.limit, Adaptive):
            if found.source.origin != "app":
                asked_first.append(adaptive_limit(found, endpoint, learning))
        else:
            limiter = _limiter(found, endpoint, key, partial(_first_number, every, found))
            declared = found.source.declaration
            stage = declared if declared.at == "call" else declared.at
            chosen.setdefault(stage, []).append(limiter)
    gates = {
        stage: Gate(limiters, store, rooms=rooms, exempt=exempt)
        for stage, limiters in chosen.items()
        if limiters
    }
    calls = {stage: gate for stage, gate in gates.items() if isinstance(stage, Declaration)}
    return Plan(gates.get("arrival"), gates.get("view"), calls, tuple(asked_first))


def adaptive_limit(
    found: Candidate, endpoint: str | None, learning: AdaptiveLimits
) -> AdaptiveLimit:
    """The adaptive limit of this process that was declared."""
    assert isinstance(found.limit, Adaptive)
    scope = _scope(found.source, endpoint)
    id = "\x1f".join((*scope, found.name, "adaptive"))
    route = "" if scope[0] in ("name", "app") else " ".join(scope[1:])
    shadow = found.source.declaration.shadow
    return learning.get(id, found.limit, name=found.name, route=route, shadow=shadow)


def _first_number(every: Sequence[Candidate], chosen: Candidate, name: str) -> int:
    """The number of a chosen limit's name: after those of its name that are fixed, one for each
    declaration that chooses.

    So it is the same in each request, whatever others choose.
    """
    declared = chosen.source.declaration
    alike = [each for each in every if _prefix(each.source) == _prefix(chosen.source)]
    fixed = sum(not isinstance(each.limit, DynamicLimit) and _name(each) == name for each in alike)
    choosing = [each.source.declaration for each in alike if isinstance(each.limit, DynamicLimit)]
    return fixed + 1 + list(dict.fromkeys(choosing)).index(declared)


def _prefix(source: Source) -> str:
    return source.declaration.name or source.origin


def _name(found: Candidate) -> str:
    return f"{_prefix(found.source)}:{found.limit.text}"


def _limiter(
    found: Candidate,
    endpoint: str | None,
    key: Callable[[], object],
    first_number: Callable[[str], int],
) -> Limiter | DynamicLimiter:
    declared = found.source.declaration
    scope = _scope(found.source, endpoint)
    route = "" if scope[0] in ("name", "app") else " ".join(scope[1:])

    def make(limit: Limit, name: str) -> Limiter:
        return Limiter(
            name=name,
            id="\x1f".join((*scope, name, _algorithm(limit))),
            limit=limit,
            key=_counted(limit, declared.key, key),
            cost=declared.cost,
            exempt_when=declared.exempt_when,
            charge_when=declared.charge_when,
            final_cost=declared.final_cost,
            shadow=declared.shadow,
            per_client=not isinstance(limit, InFlight) or declared.key is not None,
            shared=declared.name is not None,
            route=route,
        )

    if isinstance(found.limit, DynamicLimit):
        return DynamicLimiter(found.limit, _prefix(found.source), make, first_number)
    assert not isinstance(found.limit, Adaptive)
    return make(found.limit, found.name)


def _counted(
    limit: AnyLimit, declared: Callable[[], object] | None, key: Callable[[], object]
) -> Callable[[], object]:
    """Who is counted: as declared; else each client (rates) or all requests (in flight)."""
    if not isinstance(limit, InFlight):
        return declared or key
    whom = declared or all_requests
    if limit.scope is None:
        return whom

    @functools.wraps(whom)
    def in_this_process() -> str:
        return f"{os.getpid()}\x1f{whom()}"

    return in_this_process


def _left_out(sources: Sequence[Source], method: str) -> list[str | None]:
    """Leave out other methods' declarations, and what a narrower one replaces."""
    reasons: list[str | None] = []
    for source in sources:
        methods = source.declaration.methods
        if methods is not None and method not in methods:
            reasons.append(f"only {', '.join(sorted(methods))}")
            continue
        if source.declaration.replace:
            reasons = [
                reason
                if reason or wider.origin == "app" or _stand_together(wider, source)
                else f"replaced by {source.origin}"
                for wider, reason in zip(sources, reasons, strict=False)
            ]
        reasons.append(None)
    return reasons


def _stand_together(one: Source, other: Source) -> bool:
    """Whether neither is wider: several decorators of one view, or of one blueprint."""
    return (one.origin, one.place) == (other.origin, other.place)


def _scope(source: Source, endpoint: str | None) -> tuple[str, ...]:
    """Whose count it is: a name's, the whole app's, this route's own, or one method's of it."""
    if source.declaration.name is not None:
        return ("name", source.declaration.name)
    if source.origin == "app":
        return ("app",)
    route = (source.origin, endpoint or "")
    return (*route, source.place) if source.origin == "route" and source.place else route


def _algorithm(limit: Limit) -> str:
    """What makes two limits of one text count apart."""
    if isinstance(limit, InFlight):
        return "in-flight"
    return f"{limit.algorithm} {limit.burst}"
