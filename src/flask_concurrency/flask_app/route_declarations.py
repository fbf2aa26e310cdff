"""Collect what was declared for one route: by the app, its blueprints, its view.

Knows where declarations stand; decides neither which apply nor what they count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask
from werkzeug.routing import Rule

from flask_concurrency.engine.declaration import Declaration, Origin
from flask_concurrency.engine.plan import Source
from flask_concurrency.flask_app.declarations import decorations
from flask_concurrency.flask_app.declarations.decorations import EXEMPT
from flask_concurrency.flask_app.declarations.priority import RequestPriority
from flask_concurrency.flask_app.declarations.time_limit import TimeLimit
from flask_concurrency.flask_app.http.cors import CorsPolicy
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.vocabulary.priority import Priority


@dataclass(frozen=True, slots=True)
class Declared:
    """What reaches one route and method.

    :ivar sources: Limits, widest first.
    :ivar cors: The narrowest CORS policy; ``None`` for none.
    :ivar exempt: Whether no limit applies, whatever the sources say.
    :ivar time: The narrowest time limit; ``None`` for none.
    :ivar priority: How much its requests matter under overload.
    """

    sources: tuple[Source, ...]
    cors: CorsPolicy | None
    exempt: bool
    time: TimeLimit | None
    priority: Priority | Callable[[], Priority] = "normal"


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
    static = rule is not None and _is_static(rule)
    priority: Priority | Callable[[], Priority] = "normal"
    for declared in settings.app_limits:
        if rule is None and declared.at != "arrival":  # there is no view to ask before
            continue
        if declared.static or not static:
            sources.append(Source("app", declared))
    if rule is not None:
        for declared in settings.default_limits:
            if declared.static or not static:
                sources.append(Source("default", declared))
        for (origin, on), found in _places(app, owner, rule, method).items():
            # The newest stands first, and is the one that counts of what can be only one.
            cors = next((each for each in found if isinstance(each, CorsPolicy)), cors)
            time = next((each for each in found if isinstance(each, TimeLimit)), time)
            exempt = exempt or EXEMPT in found
            said = (each.priority for each in found if isinstance(each, RequestPriority))
            priority = next(said, priority)
            for declared in _different(found):
                if declared.static or not static or origin == "route":
                    sources.append(Source(origin, declared, on))
    return Declared(tuple(sources), cors, exempt, time, priority)


def _places(
    app: Flask, owner: object, rule: Rule, method: str
) -> dict[tuple[Origin, str], list[object]]:
    """What stands on each blueprint, the view and the method of its class, the widest first."""
    places: dict[tuple[Origin, str], list[object]] = {}
    for name, declaration in decorations.on_blueprints(app, rule.endpoint, owner):
        places.setdefault(("blueprint", name), []).append(declaration)
    places["route", ""] = list(decorations.on_view(app, rule.endpoint, owner))
    method_name, on_method = decorations.on_method(app, rule.endpoint, method, owner)
    places["route", method_name] = on_method
    return places


def _different(found: list[object]) -> list[Declaration]:
    """The limits of one place, each once, however often it was declared there."""
    different: list[Declaration] = []
    for declared in found:
        if isinstance(declared, Declaration) and not any(map(declared.says_the_same, different)):
            different.append(declared)
    return different


def _is_static(rule: Rule) -> bool:
    """Whether Flask itself serves files there: a page would spend its own quota on them."""
    return rule.endpoint.rpartition(".")[2] == "static" and rule.arguments == {"filename"}
