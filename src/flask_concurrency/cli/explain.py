"""``flask concurrency explain``: which limits apply, from where, in which order, and to whom.

Knows the command's options and outputs; the answers are the engine's.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load, not_served, state_of
from flask_concurrency.cli.route_search import find_routes
from flask_concurrency.cli.routes import ListedRoute, list_routes
from flask_concurrency.cli.sentences import in_full, in_short, layout, paragraph, place
from flask_concurrency.flask_app.app_state import AppState


@click.command()
@click.argument("wanted", metavar="[PATH|ENDPOINT]", required=False)
@click.option("--method", metavar="METHOD", help="Only this HTTP method.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def explain(info: ScriptInfo, wanted: str | None, method: str | None, as_json: bool) -> None:
    """Say which limits apply, from where, and in which order.

    PATH is a request's path such as /users/7, or a rule such as "/users/<int:id>". Without PATH
    or ENDPOINT every route is listed in short.
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
    if as_json:
        click.echo(json.dumps(_as_json(app, state, routes), indent=2))
        return
    if not state.settings.enabled:
        click.echo("CONCURRENCY_ENABLED is False: nothing of this is applied.\n")
    if wanted is None:
        click.echo(layout([("Routes", [(r.title, in_short(r.explanation)) for r in routes])]))
    else:
        click.echo(layout((f"{r.title} ({r.endpoint})", in_full(r)) for r in routes))
    for unreached in state.decorated.unreached():
        click.echo(paragraph(f"Warning: {unreached}"), err=True)


def _as_json(app: Flask, state: AppState, routes: list[ListedRoute]) -> dict[str, object]:
    return {
        "app": app.name,
        "enabled": state.settings.enabled,
        "store": place(state.store_uri),
        "routes": [
            {
                "path": route.path,
                "endpoint": route.endpoint,
                "methods": route.methods,
                **asdict(route.explanation),
            }
            for route in routes
        ],
        "unreached": [asdict(unreached) for unreached in state.decorated.unreached()],
    }
