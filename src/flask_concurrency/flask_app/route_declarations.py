"""Collect what was declared for one route: by the app, its blueprints, its view.

Knows where declarations stand; decides neither which apply nor what they count.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask
from werkzeug.routing import Rule

from flask_concurrency.engine.declaration import Declaration, Origin
from flask_concurrency.engine.plan import Source
from flask_concurrency.flask_app.declarations import decorations
from flask_concurrency.flask_app.declarations.time_limit import TimeLimit
from flask_concurrency.flask_app.http.cors import CorsPolicy
from flask_concurrency.flask_app.settings import Settings

EXEMPT = object()
"""The declaration of a view or blueprint to which no limit applies."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What reaches one route and method.

    :ivar sources: Limits, widest first.
    :ivar cors: The narrowest CORS policy; ``None`` for none.
    :ivar exempt: Whether no limit applies, whatever the sources say.
    :ivar time: The narrowest time limit; ``None`` for none.
    """

    sources: tuple[Source, ...]
    cors: CorsPolicy | None
    exempt: bool
    time: TimeLimit | None


def collect(
    app: Flask, settings: Settings, owner: object, rule: Rule | None, method: str
) -> Declared:
    """Everything declared for a route, by one extension.

    :param owner: The extension whose declarations count.
    :param rule: The URL rule; ``None`` for requests that match none, which only the app's own
        limits reach.
    """
    sources: list[Source] = []
    cors: CorsPolicy | None = None
    time: TimeLimit | None = None
    exempt = False
    for declared in settings.app_limits:
        if rule is not None or declared.at == "arrival":  # else there is no view to ask before
            sources.append(Source("app", declared))
    if rule is not None:
        if not _is_static(rule):
            sources += [Source("default", declared) for declared in settings.default_limits]
        method_name, on_method = decorations.on_method(app, rule.endpoint, method, owner)
        found: list[tuple[Origin, str, object]] = [
            *(
                ("blueprint", *each)
                for each in decorations.on_blueprints(app, rule.endpoint, owner)
            ),
            *(("route", "", d) for d in decorations.on_view(app, rule.endpoint, owner)),
            *(("route", method_name, d) for d in on_method),
        ]
        for origin, place, declaration in found:
            if isinstance(declaration, Declaration):
                sources.append(Source(origin, declaration, place))
            elif isinstance(declaration, CorsPolicy):
                cors = declaration
            elif isinstance(declaration, TimeLimit):
                time = declaration
            elif declaration is EXEMPT:
                exempt = True
    return Declared(tuple(sources), cors, exempt, time)


def _is_static(rule: Rule) -> bool:
    """Whether Flask itself serves files there: a page would spend its own route's quota on them."""
    return rule.endpoint.rpartition(".")[2] == "static" and rule.arguments == {"filename"}
