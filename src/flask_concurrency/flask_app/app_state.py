"""Hold what one app owns: its settings, store, executors and compiled plans.

Knows no request.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.routing import Rule

from flask_concurrency.admission.adaptive_limit import AdaptiveSnapshot, ask_adaptive_first
from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.admission.waiting_room import WaitingRooms
from flask_concurrency.engine.declaration import Declaration
from flask_concurrency.engine.explanation import Explanation, explain
from flask_concurrency.engine.plan import AdaptiveLimits, Plan, Source, compile_plan
from flask_concurrency.flask_app.app_counters import AppCounters
from flask_concurrency.flask_app.app_store import AppStore
from flask_concurrency.flask_app.declarations.options import KNOWN_METHODS
from flask_concurrency.flask_app.declarations.time_limit import TimeLimit
from flask_concurrency.flask_app.declarations.unused import DeclarationRegistry
from flask_concurrency.flask_app.http.cors import CorsPolicy
from flask_concurrency.flask_app.overload.asker import Askers
from flask_concurrency.flask_app.overload.front import Front
from flask_concurrency.flask_app.refusal_cache import RefusalCache
from flask_concurrency.flask_app.route_declarations import collect
from flask_concurrency.flask_app.settings import (
    ENABLED,
    Settings,
    check_late_changes,
    left_over,
    written,
)
from flask_concurrency.flask_app.work.first_use import ExecutorsAtFirstUse
from flask_concurrency.runtime.drain import Drain
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.store import Store
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.safe_logger import SafeLogger

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.executors import AppExecutors

logger = SafeLogger("flask_concurrency.limits")

MAX_BLOCKS = 1_000
"""Limits of blocks that are remembered, to be looked at and reset."""

MAX_CALL_GATES = 1_000
"""Gates of declarations that no route carries, kept ready."""


@dataclass(frozen=True, slots=True)
class Route:
    """Everything decided before a request of one endpoint and method comes.

    :ivar plan: Its limits.
    :ivar cors: Its CORS policy, the narrowest that was declared; ``None`` for none.
    :ivar answers_options: Whether Flask, not the view, answers ``OPTIONS``.
    :ivar time: Its time limit, the narrowest that was declared; ``None`` for none.
    :ivar needs_no_check: Whether there is nothing to do for its requests when they arrive.
    :ivar only_gate: What to ask of its requests when they arrive, where there is nothing else to
        do for them; else ``None``.
    """

    plan: Plan
    cors: CorsPolicy | None
    answers_options: bool
    time: TimeLimit | None
    needs_no_check: bool
    only_gate: Gate | None


class AppState:
    """What ``app.extensions["concurrency"]`` holds.

    :ivar owner: The extension whose declarations count for this app.
    :param read_again: Reads the settings from the app's configuration as it is now.
    :param config: That configuration.
    :ivar enabled_written: What it says of ``CONCURRENCY_ENABLED``, as far as that is applied.
    :ivar tell_refused: Sends the signal of a refused request.
    :ivar prepare_front: Makes what stands before the app as its settings say.
    :ivar announce: Publishes from now on for other processes what adaptive limits do.
    :ivar install_after_request: Sees to it that responses are settled.
    :ivar refusals: Refusals that the middleware may repeat.
    :ivar counters: What it counts of its requests, if it does.
    :ivar adaptive: Its adaptive limits in this process.
    :ivar key: Gives who is counted where a declaration does not say.
    :ivar exempt_keys: Keys that are not counted for a while; ``None`` where nothing sets any.
    :ivar routes: The routes that were compiled, by endpoint and method.
    :ivar front: What stands before the app: health checks, adaptive limits of the whole app.
    :ivar drain: Ends streams and other endless work when the server is about to stop.
    """

    def __init__(
        self,
        owner: object,
        *,
        settings: Settings,
        store: AppStore,
        executors: ExecutorsAtFirstUse,
        declarations: DeclarationRegistry,
        key: Callable[[], object],
        read_again: Callable[[], Settings],
        config: Mapping[str, Any],
        counters: AppCounters,
    ) -> None:
        self.settings = settings
        self._store = store
        self._executors = executors
        self._read_again = read_again
        self._config = config
        self._written = written(config)
        self.enabled_written = config.get(ENABLED)
        self.install_after_request: Callable[[], None] = lambda: None
        self.prepare_front: Callable[[], None] = lambda: None
        self.tell_refused: Callable[[dict[str, Any], Decision, str], None] = lambda *_: None
        self.announce: Callable[[], None] = lambda: None
        self.drain = Drain()
        self.counters = counters
        self.rooms = WaitingRooms(
            server_threads=settings.server_threads, holds_requests_up=_holds_requests_up
        )
        self.declarations = declarations
        self.cors: CorsPolicy | None = None
        self.owner = owner
        self.key = key
        self._askers: Askers | None = None
        self.adaptive = AdaptiveLimits(counters)
        self.exempt_keys: Container[str] | None = None
        self.front = Front()
        self.routes: dict[tuple[str | None, str], Route] = {}
        self._looked_at: dict[tuple[str | None, str], Route] = {}
        self._plans_forgotten = 0
        self._gates: tuple[tuple[int, int], list[Gate]] = ((0, 0), [])
        self._call_gates: dict[tuple[str | None, str, Declaration], Gate | None] = {}
        self._block_limiters: dict[str, Limiter] = {}
        self.refusals = RefusalCache()
        self._lock = threading.Lock()

    @property
    def executors(self) -> AppExecutors:
        """Where the app's work runs; made, and its modules loaded, when first asked for."""
        made = self._executors.made
        return self._executors.get() if made is None else made

    @executors.setter
    def executors(self, executors: AppExecutors) -> None:
        self._executors.made = executors

    def run_async(self) -> None:
        """Have what runs the app's ``async`` functions made now, and not at their first use."""
        self._executors.run_async()

    @property
    def adaptive_snapshots(self) -> Callable[[], Mapping[str, AdaptiveSnapshot]]:
        """What gives, by their names, what the adaptive limits of this process do.

        It holds nothing of the app.
        """
        observed = weakref.ref(self)

        def look() -> Mapping[str, AdaptiveSnapshot]:
            state = observed()
            if state is None:
                return {}
            control = state.front.control
            source = "" if control is None else control.arrivals.source_text
            return {
                f"{limit.route}: {limit.name}" if limit.route else limit.name: limit.snapshot(
                    source
                )
                for limit in state.adaptive.all()
                if limit.admitted or any(limit.refused.values())
            }

        return look

    @property
    def store(self) -> Store:
        """Where this app counts; not to be asked for before its first request."""
        return self._store.get()

    @property
    def shared_store(self) -> Store:
        """The store that other processes see, to be asked whether it is out.

        What stands in for it meanwhile counts for this process alone.
        """
        store = self.store
        return store.store if isinstance(store, FallbackStore) else store

    @property
    def store_uri(self) -> str:
        """The store's URI, for people."""
        return self._store.uri

    def askers(self, app: Flask) -> Askers:
        """What finds the client of a request, before Flask does."""
        if self._askers is None:
            self._askers = Askers(app, self.owner)
        return self._askers

    def route(self, app: Flask, rule: Rule | None, method: str) -> Route:
        """The route of a request, compiled the first time it is asked for.

        :param rule: The URL rule that matched; ``None`` for 404 and 405.
        """
        endpoint = rule.endpoint if rule is not None else None
        route = self.routes.get((endpoint, method))
        if route is not None:
            return route
        with self._lock:
            if not self.routes:  # the first request: nothing can be registered any more
                self._read_late_changes(app)
                self.declarations.report()
                _report_left_over(app)
            route = self._compile(app, rule, method)
            if rule is not None or method in KNOWN_METHODS:  # clients may invent methods
                self.routes[endpoint, method] = route
            return route

    @property
    def enabled_now(self) -> bool:
        """Whether limits are applied; false, too, while a switch has yet to be followed."""
        return self.settings.enabled and self._config.get(ENABLED) is self.enabled_written

    def forget_plans(self) -> None:
        """Compile every route anew, over the store as it is chosen now."""
        with self._lock:
            self.routes.clear()
            self._looked_at.clear()
            self._plans_forgotten += 1
            self._call_gates.clear()
            self._block_limiters.clear()
            self.refusals.clear()

    def switch(self) -> None:
        """Follow ``CONCURRENCY_ENABLED``, which tests switch while an app is in use.

        :raises ConfigurationError: It is neither true nor false.
        """
        with self._lock:
            value = self._config.get(ENABLED)
            enabled = self._read_again().enabled
            self.settings = replace(self.settings, enabled=enabled)
            self.enabled_written = self._written[ENABLED] = value

    def apply_late_changes(self, app: Flask) -> None:
        """Apply what the configuration says now, unless the app is in use.

        :raises ConfigurationError: It can no longer be applied, or is wrong.
        """
        with self._lock:
            if not self.routes:
                self._read_late_changes(app)

    def _read_late_changes(self, app: Flask) -> None:
        """Apply what the configuration says now, if it was changed after ``init_app``.

        :raises ConfigurationError: It can no longer be applied, or is wrong.
        """
        now = written(self._config)
        if not check_late_changes(self._written, now):
            return
        settings = self._read_again()
        if self._store.settings_differ(settings):
            self._store = AppStore(app, settings, self.counters.store_lost)
        if settings.server_threads is not None:
            self.rooms.served_by(settings.server_threads)
        self.settings = settings
        self._written, self.enabled_written = now, now.get(ENABLED)
        if settings.charges_by_response:
            self.install_after_request()

    def ask_block(self, declaration: Declaration) -> Answer:
        """Ask the limits of a block, for the app's own store and key."""
        plan = self._plan((Source("block", declaration),), None, "")
        enabled = self.settings.enabled
        gate = next(plan.gates, None) if enabled else None
        if gate is not None:
            for limiter in gate.limiters:
                if isinstance(limiter, Limiter) and len(self._block_limiters) < MAX_BLOCKS:
                    self._block_limiters[limiter.id] = limiter
        return ask_adaptive_first(plan.adaptive if enabled else (), gate or Gate((), self.store))

    def call_gate(
        self, app: Flask, rule: Rule | None, method: str, declaration: Declaration
    ) -> Gate | None:
        """What to ask where the decorator of a declaration stands; ``None`` for nothing.

        :param declaration: One whose stage is ``"call"``; it may be found in no route, where a
            framework decorates in each request, or a view calls a function that is limited.
        """
        endpoint = rule.endpoint if rule is not None else None
        asked = (endpoint, method, declaration)
        if asked not in self._call_gates:
            found = collect(app, self.settings, self.owner, rule, method)
            sources = found.sources
            if all(source.declaration is not declaration for source in sources):
                sources = (*sources, Source("route", declaration))
            plan = self._plan(() if found.exempt else sources, endpoint, method)
            if len(self._call_gates) >= MAX_CALL_GATES:  # declared anew in each request
                self._call_gates.clear()
            self._call_gates[asked] = plan.calls.get(declaration)
        return self._call_gates[asked]

    def limiters(self, app: Flask) -> list[Limiter]:
        """Every limiter of every route, and of the blocks this process has asked, each once."""
        found: dict[str, Limiter] = dict(self._block_limiters)
        called = [gate for gate in list(self._call_gates.values()) if gate is not None]
        for limiter in _limiters_of((*self._all_gates(app), *called)):
            found.setdefault(limiter.id, limiter)
        return list(found.values())

    def _all_gates(self, app: Flask) -> list[Gate]:
        """The gates of every route, as it is compiled now."""
        compiled = (self._plans_forgotten, len(self.routes))
        found_at, gates = self._gates
        if not self.routes or found_at != compiled:
            rules: list[Rule | None] = [None, *app.url_map.iter_rules()]
            gates = [
                gate
                for rule in rules
                for method in sorted((rule.methods if rule is not None else None) or {"GET"})
                for gate in self._looked_at_route(app, rule, method).plan.gates
            ]
            # Each look at an app with 500 routes takes 3 ms without (``bench counting-scrape``).
            self._gates = compiled, gates
        return gates

    def limiters_of(self, app: Flask, rule: Rule | None, method: str) -> list[Limiter]:
        """The limiters of one route; of those chosen in a request, what this process has chosen."""
        endpoint = rule.endpoint if rule is not None else None
        gates = self._looked_at_route(app, rule, method).plan.gates
        called = [
            gate
            for (at, by, _), gate in list(self._call_gates.items())
            if gate is not None and (at, by) == (endpoint, method)
        ]
        return list(_limiters_of((*gates, *called)))

    def _looked_at_route(self, app: Flask, rule: Rule | None, method: str) -> Route:
        """A route to be looked at, which need not have been asked for."""
        place = None if rule is None else rule.endpoint, method
        route = self.routes.get(place) or self._looked_at.get(place)
        if route is None:
            route = self._compile(app, rule, method)
            if self.routes:  # the app is in use: nothing can be registered any more
                # Each look at an app with 500 routes takes 20 ms without (``bench
                # counting-scrape``).
                self._looked_at[place] = route
        return route

    def explain(self, app: Flask, rule: Rule | None, method: str) -> Explanation:
        """Which limits a request would meet, why, and how long it may take; nothing is counted."""
        found = collect(app, self.settings, self.owner, rule, method)
        seconds = None if found.time is None else found.time.seconds
        return explain(
            found.sources,
            method=method,
            key=self.key,
            exempt=found.exempt,
            deadline=seconds,
            priority=found.priority,
        )

    def _plan(self, sources: Sequence[Source], endpoint: str | None, method: str) -> Plan:
        return compile_plan(
            sources,
            endpoint=endpoint,
            method=method,
            key=self.key,
            store=self.store,
            rooms=self.rooms,
            adaptive=self.adaptive,
            exempt=self.exempt_keys,
        )

    def _compile(self, app: Flask, rule: Rule | None, method: str) -> Route:
        found = collect(app, self.settings, self.owner, rule, method)
        endpoint = rule.endpoint if rule is not None else None
        plan = self._plan(() if found.exempt else found.sources, endpoint, method)
        limited = (plan.arrival, plan.view, found.time) != (None, None, None) or plan.adaptive
        more = (plan.view, found.time) != (None, None) or plan.adaptive or method == "OPTIONS"
        return Route(
            plan,
            found.cors or self.cors,
            bool(getattr(rule, "provide_automatic_options", False)),
            found.time,
            needs_no_check=not limited and method != "OPTIONS",
            only_gate=None if more else plan.arrival,
        )


def _limiters_of(gates: Iterable[Gate]) -> Iterator[Limiter]:
    """The limiters of gates; of those chosen in a request, what this process has chosen."""
    for gate in gates:
        for limiter in gate.limiters:
            if isinstance(limiter, Limiter):
                yield limiter
            else:
                yield from limiter.made


def _holds_requests_up() -> bool:
    from flask_concurrency.executors.waiting import holds_requests_up

    return holds_requests_up()


def _report_left_over(app: Flask) -> None:
    """Log configuration of Flask-Limiter that applies to nothing any more."""
    if "limiter" in app.extensions:  # both are in use, as while routes move one after the other
        return
    for key, ours in left_over(app.config).items():
        logger.warning(
            "%s configures Flask-Limiter, which %r does not use, and applies to nothing: "
            "set %s, or leave it out.",
            key,
            app.name,
            ours,
        )
