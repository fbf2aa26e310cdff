"""Hold what one app owns: its settings, its store, its compiled plans.

Knows how a route's declarations are collected; knows no request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask
from werkzeug.routing import Rule

from flask_concurrency.engine.declaration import Declaration, Origin
from flask_concurrency.engine.plan import Plan, Source, compile_plan
from flask_concurrency.flask_app import markers
from flask_concurrency.flask_app.cors import CorsPolicy
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.stores.store import Store

logger = logging.getLogger("flask_concurrency.limits")

EXEMPT = object()
"""The declaration of a view or blueprint to which no limit applies."""

KNOWN_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)


@dataclass(frozen=True, slots=True)
class Route:
    """Everything decided before a request of one endpoint and method comes.

    :ivar plan: Its limits.
    :ivar cors: Its CORS policy, the narrowest that was declared; ``None`` for none.
    :ivar answers_options: Whether Flask, not the view, answers ``OPTIONS``.
    """

    plan: Plan
    cors: CorsPolicy | None
    answers_options: bool


class AppState:
    """What ``app.extensions["concurrency"]`` holds.

    :param owner: The extension whose declarations count for this app.
    """

    def __init__(
        self,
        owner: object,
        *,
        settings: Settings,
        store: Store,
        key: Callable[[], object],
    ) -> None:
        self.settings = settings
        self.store = store
        self.cors: CorsPolicy | None = None
        self._owner = owner
        self._key = key
        self._routes: dict[tuple[str | None, str], Route] = {}
        self._lock = threading.Lock()

    def route(self, app: Flask, rule: Rule | None, method: str, blueprints: list[str]) -> Route:
        """The route of a request, compiled the first time it is asked for.

        :param rule: The URL rule that matched; ``None`` for 404 and 405.
        """
        endpoint = rule.endpoint if rule is not None else None
        route = self._routes.get((endpoint, method))
        if route is not None:
            return route
        with self._lock:
            route = self._compile(app, rule, method, blueprints)
            if rule is not None or method in KNOWN_METHODS:  # clients may invent methods
                self._routes[endpoint, method] = route
            return route

    def _compile(self, app: Flask, rule: Rule | None, method: str, blueprints: list[str]) -> Route:
        sources: list[Source] = []
        cors = self.cors
        exempt = False
        if self.settings.app_limits:
            sources.append(Source("app", Declaration(self.settings.app_limits)))
        if rule is not None:
            if self.settings.default_limits and not _is_static(rule):
                sources.append(Source("default", Declaration(self.settings.default_limits)))
            owner = self._owner
            found: list[tuple[Origin, object]] = [
                *(("blueprint", d) for d in markers.on_blueprints(app, blueprints, owner)),
                *(("route", d) for d in markers.on_view(app, rule.endpoint, method, owner)),
            ]
            for origin, declared in found:
                if isinstance(declared, Declaration):
                    sources.append(Source(origin, declared))
                elif isinstance(declared, CorsPolicy):
                    cors = declared
                elif declared is EXEMPT:
                    exempt = True
        return Route(
            compile_plan(
                [] if exempt else sources,
                endpoint=rule.endpoint if rule is not None else None,
                method=method,
                key=self._key,
                store=self.store,
            ),
            cors,
            bool(getattr(rule, "provide_automatic_options", False)),
        )


def _is_static(rule: Rule) -> bool:
    """Whether Flask itself serves files there: a page would spend its own route's quota on them."""
    return rule.endpoint.rpartition(".")[2] == "static" and rule.arguments == {"filename"}
