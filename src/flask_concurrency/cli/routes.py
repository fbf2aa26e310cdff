"""List an app's routes with the limits of each. Decides which methods are worth telling apart.

Knows URL rules; prints nothing and counts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask
from werkzeug.routing import Rule

from flask_concurrency.engine.explanation import Explanation
from flask_concurrency.flask_app.app_state import AppState


@dataclass(frozen=True, slots=True)
class ListedRoute:
    """A URL rule and those of its methods that meet the same limits.

    :ivar path: The rule as it was written; ``None`` for requests that match none.
    :ivar endpoint: Its endpoint; ``None`` for requests that match none.
    :ivar methods: HTTP methods, in alphabetical order.
    :ivar explanation: Their limits.
    :ivar rule: The rule itself; ``None`` for requests that match none.
    """

    path: str | None
    endpoint: str | None
    methods: tuple[str, ...]
    explanation: Explanation
    rule: Rule | None = None

    @property
    def title(self) -> str:
        """The route as people write it: ``GET /report``."""
        if self.path is None:
            return "no route (404, 405)"
        shown = [name for name in self.methods if name != "HEAD" or "GET" not in self.methods]
        return f"{','.join(shown)} {self._host}{self.path}"

    @property
    def _host(self) -> str:
        """What the rule says of the host, such as ``//api.example.com`` or ``//<tenant>.…``."""
        if self.rule is None or not (self.rule.host or self.rule.subdomain):
            return ""
        return f"//{self.rule.host}" if self.rule.host else f"//{self.rule.subdomain}.…"


def list_routes(app: Flask, state: AppState) -> list[ListedRoute]:
    """Every route in the order of registration; last, if anything limits them, unmatched URLs."""
    routes = [route for rule in app.url_map.iter_rules() for route in _of_rule(app, state, rule)]
    unmatched = state.explain(app, None, "GET")
    if unmatched.limits:
        routes.append(ListedRoute(None, None, (), unmatched))
    return routes


def _of_rule(app: Flask, state: AppState, rule: Rule) -> list[ListedRoute]:
    methods = set(rule.methods or ())
    if getattr(rule, "provide_automatic_options", False):
        methods.discard("OPTIONS")  # answered by Flask, never counted
    alike: dict[Explanation, list[str]] = {}
    for method in sorted(methods):
        alike.setdefault(state.explain(app, rule, method), []).append(method)
    return [
        ListedRoute(rule.rule, rule.endpoint, tuple(methods), explanation, rule)
        for explanation, methods in alike.items()
    ]
