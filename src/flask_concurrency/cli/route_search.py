"""Find the routes somebody means by a path, a URL rule or an endpoint.

Knows how Flask matches a URL; knows no limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

import click
from flask import Flask, request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import RequestRedirect

from flask_concurrency.cli.routes import ListedRoute


def find_routes(
    app: Flask, routes: Sequence[ListedRoute], wanted: str, method: str | None
) -> list[ListedRoute]:
    """The routes meant, all methods of them or the one asked for.

    :param routes: Every route of the app.
    :param wanted: An endpoint, a rule as it was written, or the path of a request.
    :param method: An HTTP method in capitals; ``None`` for all.
    :raises click.UsageError: There is none; the message names those that are close.
    """
    named = [route for route in routes if wanted in (route.endpoint, route.path)]
    found = named or _matching(app, routes, wanted)
    if not found:
        raise click.UsageError(
            f"No route of {app.name!r} matches {wanted!r}.{_hint(wanted, routes)}"
        )
    chosen = [route for route in found if method is None or method in route.methods]
    if not chosen:
        taken = sorted({name for route in found for name in route.methods})
        raise click.UsageError(f"{wanted!r} does not take {method}, only {', '.join(taken)}.")
    return chosen


def _matching(app: Flask, routes: Sequence[ListedRoute], path: str) -> list[ListedRoute]:
    """The routes that a request for ``path`` reaches, with any method."""
    if not path.startswith("/"):
        return []
    found: list[ListedRoute] = []
    for method in sorted({name for route in routes for name in route.methods}):
        with app.test_request_context(path, method=method):
            refused = request.routing_exception
            if isinstance(refused, RequestRedirect):
                return _matching(app, routes, urlsplit(refused.new_url).path)
            if isinstance(refused, MethodNotAllowed):
                continue
            rule = request.url_rule
        if rule is not None:
            found.extend(
                route
                for route in routes
                if (route.path, route.endpoint) == (rule.rule, rule.endpoint)
                and method in route.methods
                and route not in found
            )
    return found


def _hint(wanted: str, routes: Sequence[ListedRoute]) -> str:
    known = {name for route in routes for name in (route.path, route.endpoint) if name is not None}
    close = get_close_matches(wanted, sorted(known), n=3)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    return " 'flask concurrency explain' lists them all."
