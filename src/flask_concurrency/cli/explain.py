"""``flask concurrency explain``: which limits apply, from where, in which order, and to whom.

Knows the command's options and outputs; the answers are the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import repeat

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load, not_served, shared_state_of, state_of
from flask_concurrency.cli.overload_lines import guard_rows
from flask_concurrency.cli.route_search import find_routes
from flask_concurrency.cli.routes import ListedRoute, list_routes
from flask_concurrency.cli.sentences import (
    Left,
    in_full,
    in_short,
    layout,
    paragraph,
    store_location,
)
from flask_concurrency.engine.snapshot import look
from flask_concurrency.flask_app.app_snapshot import read_processes
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.vocabulary.errors import StoreError


@click.command()
@click.argument("wanted", metavar="[PATH|ENDPOINT]", required=False)
@click.option("--method", metavar="METHOD", help="Only this HTTP method.  [default: all]")
@click.option(
    "--key", metavar="KEY", help="Also say what is left for this client, such as 192.0.2.7."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def explain(
    info: ScriptInfo, wanted: str | None, method: str | None, key: str | None, as_json: bool
) -> None:
    """Say which limits apply, from where, and in which order.

    PATH is a request's path such as /users/7, or a rule such as "/users/<int:id>". Without PATH
    or ENDPOINT every route is listed in short. With KEY, which is what a limit counts by, the
    counts of the running server are read; nothing is spent.
    """
    app = load(info)
    state = state_of(app)
    if state is None:
        raise click.ClickException(not_served(app))
    routes = list_routes(app, state)
    method = None if method is None else method.upper()
    if wanted is not None:
        routes = find_routes(app, routes, wanted, method)
    elif method is not None:
        routes = [route for route in routes if method in route.methods]
    left = None if key is None else _left(app, routes, key)
    if as_json:
        click.echo(json.dumps(_as_json(app, state, routes, left), indent=2))
        return
    if not state.settings.enabled:
        click.echo("CONCURRENCY_ENABLED is False: nothing of this is applied.\n")
    if wanted is None:
        rows = [(r.title, in_short(r.explanation, of)) for r, of in _with(left, routes)]
        click.echo(layout([("Routes", rows)]))
    else:
        click.echo(
            layout((f"{r.title} ({r.endpoint})", in_full(r, of)) for r, of in _with(left, routes))
        )
    if any(each.answer_within for route in routes for each in route.explanation.applying):
        click.echo("\n" + layout([("Guards against overload", _guards(app, state))]))
    for unreached in state.declarations.unreached():
        click.echo(paragraph(f"Warning: {unreached}"), err=True)


def _guards(app: Flask, state: AppState) -> list[tuple[str, str]]:
    """Which guards are active in the running processes, and why."""
    try:
        rows = guard_rows(read_processes(app, state))
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    return rows or [("no process", "what tells the age of requests is known once one serves them")]


def _left(app: Flask, routes: list[ListedRoute], key: str) -> list[Left]:
    """What is left for a client, route by route."""
    state = shared_state_of(app)
    found: list[Left] = []
    for route in routes:
        method = route.methods[0] if route.methods else "GET"
        limiters = state.limiters_of(app, route.rule, method)
        try:
            found.append({each.name: each for each in look(limiters, state.shared_store, key=key)})
        except StoreError as error:
            raise click.ClickException(str(error)) from None
    return found


def _with(
    left: Sequence[Left] | None, routes: list[ListedRoute]
) -> Iterator[tuple[ListedRoute, Left | None]]:
    return zip(routes, repeat(None) if left is None else left, strict=False)


def _as_json(
    app: Flask, state: AppState, routes: list[ListedRoute], left: list[Left] | None
) -> dict[str, object]:
    return {
        "app": app.name,
        "enabled": state.settings.enabled,
        "store": store_location(state.store_uri),
        "routes": [
            {
                "path": route.path,
                "endpoint": route.endpoint,
                "methods": route.methods,
                **asdict(route.explanation),
                **({} if of is None else {"counts": [asdict(each) for each in of.values()]}),
            }
            for route, of in _with(left, routes)
        ],
        "unreached": [asdict(unreached) for unreached in state.declarations.unreached()],
    }
