"""Find the routes meant by a path, a URL rule or an endpoint.

Knows how Flask matches a URL; knows no limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

import click
from flask import Flask, request
from werkzeug.routing import RequestRedirect, Rule

from flask_concurrency.cli.routes import ListedRoute


def find_routes(
    app: Flask, routes: Sequence[ListedRoute], wanted: str, method: str | None
) -> list[ListedRoute]:
    """The routes meant, all methods of them or the one asked for.

    :param routes: Every route of the app.
    :param wanted: An endpoint, a rule as it was written, or the path or URL of a request.
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
    if not path.startswith(("/", "http://", "https://")):
        return []
    hosts: Sequence[str | None] = [None] if urlsplit(path).netloc else _hosts(app)
    found: list[ListedRoute] = []
    for host in hosts:
        for method in sorted({name for route in routes for name in route.methods}):
            rule = _rule(app, path, method, None if host is None else f"http://{host}/")
            found.extend(
                route
                for route in routes
                if rule is not None
                and route.rule is rule
                and method in route.methods
                and route not in found
            )
    return found


def _rule(app: Flask, path: str, method: str, base_url: str | None) -> Rule | None:
    """The rule that a request matches, with a slash added or dropped as Flask would have it."""
    with app.test_request_context(path, base_url, method=method):
        refused = request.routing_exception
        if not isinstance(refused, RequestRedirect):
            return request.url_rule
    there = urlsplit(refused.new_url).path
    return None if there == path else _rule(app, there, method, base_url)  # it is another host's


def _hosts(app: Flask) -> Sequence[str | None]:
    """The hosts of which a path may be asked; one that does not matter where none does."""
    rules, server = list(app.url_map.iter_rules()), app.config["SERVER_NAME"]
    if app.url_map.host_matching:
        named = {rule.host or "" for rule in rules}
    elif app.subdomain_matching and server:
        named = {f"{rule.subdomain}.{server}" if rule.subdomain else server for rule in rules}
    else:
        return [None]
    return sorted(host for host in named if "<" not in host)


def _hint(wanted: str, routes: Sequence[ListedRoute]) -> str:
    known = {name for route in routes for name in (route.path, route.endpoint) if name is not None}
    close = get_close_matches(wanted, sorted(known), n=3)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    return " 'flask concurrency explain' lists them all."
