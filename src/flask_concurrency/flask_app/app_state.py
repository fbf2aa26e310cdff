"""Hold what one app owns: its settings, store, executors and compiled plans.

Knows no request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask
from werkzeug.routing import Rule

from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.admission.waiting_room import WaitingRooms
from flask_concurrency.engine.declaration import Declaration
from flask_concurrency.engine.explanation import Explanation, explain
from flask_concurrency.engine.plan import Plan, Source, compile_plan
from flask_concurrency.executors.waiting import holds_requests_up
from flask_concurrency.flask_app.app_store import AppStore
from flask_concurrency.flask_app.declarations.options import KNOWN_METHODS
from flask_concurrency.flask_app.declarations.time_limit import TimeLimit
from flask_concurrency.flask_app.declarations.unused import DeclarationRegistry
from flask_concurrency.flask_app.http.cors import CorsPolicy
from flask_concurrency.flask_app.route_declarations import collect
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.work.executors import AppExecutors
from flask_concurrency.runtime.drain import Drain
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.store import Store


@dataclass(frozen=True, slots=True)
class Route:
    """Everything decided before a request of one endpoint and method comes.

    :ivar plan: Its limits.
    :ivar cors: Its CORS policy, the narrowest that was declared; ``None`` for none.
    :ivar answers_options: Whether Flask, not the view, answers ``OPTIONS``.
    :ivar time: Its time limit, the narrowest that was declared; ``None`` for none.
    :ivar needs_no_check: Whether there is nothing to do for its requests when they arrive.
    """

    plan: Plan
    cors: CorsPolicy | None
    answers_options: bool
    time: TimeLimit | None
    needs_no_check: bool


class AppState:
    """What ``app.extensions["concurrency"]`` holds.

    :ivar owner: The extension whose declarations count for this app.
    :ivar drain: Ends what would go on for ever when the server is told to end.
    """

    def __init__(
        self,
        owner: object,
        *,
        settings: Settings,
        store: AppStore,
        executors: AppExecutors,
        declarations: DeclarationRegistry,
        key: Callable[[], object],
    ) -> None:
        self.settings = settings
        self._store = store
        self.executors = executors
        self.drain = Drain()
        self.rooms = WaitingRooms(
            server_threads=settings.server_threads, holds_requests_up=holds_requests_up
        )
        self.declarations = declarations
        self.cors: CorsPolicy | None = None
        self.owner = owner
        self._key = key
        self._routes: dict[tuple[str | None, str], Route] = {}
        self._lock = threading.Lock()

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

    def route(self, app: Flask, rule: Rule | None, method: str) -> Route:
        """The route of a request, compiled the first time it is asked for.

        :param rule: The URL rule that matched; ``None`` for 404 and 405.
        """
        endpoint = rule.endpoint if rule is not None else None
        route = self._routes.get((endpoint, method))
        if route is not None:
            return route
        with self._lock:
            if not self._routes:  # the first request: nothing can be registered any more
                self.declarations.report()
            route = self._compile(app, rule, method)
            if rule is not None or method in KNOWN_METHODS:  # clients may invent methods
                self._routes[endpoint, method] = route
            return route

    def ask_block(self, declaration: Declaration) -> Answer:
        """Ask the limits of a block, for the app's own store and key."""
        plan = compile_plan(
            (Source("block", declaration),),
            endpoint=None,
            method="",
            key=self._key,
            store=self.store,
            rooms=self.rooms,
        )
        gate = (plan.arrival or plan.view) if self.settings.enabled else None
        return (gate or Gate((), self.store)).acquire()

    def limiters(self, app: Flask) -> list[Limiter]:
        """Every limiter of every route, each once; those chosen in a request are not known."""
        found: dict[str, Limiter] = {}
        rules: list[Rule | None] = [None, *app.url_map.iter_rules()]
        for rule in rules:
            for method in sorted((rule.methods if rule is not None else None) or {"GET"}):
                for limiter in self.limiters_of(app, rule, method):
                    found.setdefault(limiter.id, limiter)
        return list(found.values())

    def limiters_of(self, app: Flask, rule: Rule | None, method: str) -> list[Limiter]:
        """The limiters of one route; those chosen in a request are not known."""
        plan = self._compile(app, rule, method).plan
        limiters = [
            limiter
            for gate in (plan.arrival, plan.view)
            for limiter in (() if gate is None else gate.limiters)
        ]
        return [limiter for limiter in limiters if isinstance(limiter, Limiter)]

    def explain(self, app: Flask, rule: Rule | None, method: str) -> Explanation:
        """Which limits a request would meet, why, and how long it may take; nothing is counted."""
        found = collect(app, self.settings, self.owner, rule, method)
        seconds = None if found.time is None else found.time.seconds
        return explain(
            found.sources, method=method, key=self._key, exempt=found.exempt, deadline=seconds
        )

    def _compile(self, app: Flask, rule: Rule | None, method: str) -> Route:
        found = collect(app, self.settings, self.owner, rule, method)
        plan = compile_plan(
            () if found.exempt else found.sources,
            endpoint=rule.endpoint if rule is not None else None,
            method=method,
            key=self._key,
            store=self.store,
            rooms=self.rooms,
        )
        limited = (plan.arrival, plan.view, found.time) != (None, None, None)
        return Route(
            plan,
            found.cors or self.cors,
            bool(getattr(rule, "provide_automatic_options", False)),
            found.time,
            needs_no_check=not limited and method != "OPTIONS",
        )
