"""``flask concurrency tune``: its options, its output and its exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load, not_served, state_of
from flask_concurrency.cli.tune.processor_time import processors
from flask_concurrency.cli.tune.report import as_data, in_html, in_text
from flask_concurrency.cli.tune.session import tune_routes
from flask_concurrency.vocabulary.errors import ConfigurationError

LEAST = 4.0
"""Seconds that a route takes at the least, to be worth anything."""
BUSY = 0.1
"""Processors that others may use without its being told."""
TICKS = 10
"""Steps of the progress bar in a second."""
OURS = "flask_concurrency."


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--budget",
    type=click.FloatRange(min=LEAST),
    default=60.0,
    show_default=True,
    help="Seconds that all of it may take.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask before requests are sent.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with pictures here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def tune(
    info: ScriptInfo,
    paths: tuple[str, ...],
    budget: float,
    yes: bool,
    html: str | None,
    as_json: bool,
) -> None:
    """Load the app, and say which workers, threads and limits fit it, and why.

    Starts the app on its real server, on this machine alone and without its limits, and sends GET
    requests to each PATH, or to every route that needs no arguments. What a view does it does for
    real: it asks first.
    """
    app = load(info)
    if state_of(app) is None:
        raise click.ClickException(not_served(app))
    chosen = list(paths) or routes_to_load(app)
    for path in chosen:
        if not path.startswith("/"):
            raise click.UsageError(f"{path!r} is no path: write /{path}.")
    if not chosen:
        raise click.UsageError("No route answers GET without arguments: name a PATH.")
    most = int(budget // LEAST)
    if len(chosen) > most:
        left_out = ", ".join(chosen[most:])
        click.echo(f"Left out, for want of time (--budget): {left_out}.", err=True)
        chosen = chosen[:most]
    if not yes:
        question = f"Send GET requests for {budget:g} s to {', '.join(chosen)} of {app.name!r}?"
        click.confirm(question, abort=True, err=True)
    try:
        with click.progressbar(
            length=round(TICKS * budget), label="Measuring", file=sys.stderr
        ) as bar:
            found = tune_routes(
                info.app_import_path, chosen, budget, lambda spent: bar.update(round(TICKS * spent))
            )
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for problem in found.failed:
        click.echo(problem, err=True)
    if found.others > BUSY:
        told = (
            f"Other processes used {found.others:.1f} of {processors()} processors meanwhile: "
            "routes that compute can do more than was seen. Measure again when it is quiet."
        )
        click.echo(told, err=True)
    if html is not None and found.tuned:
        Path(html).write_text(in_html(app.name, found.tuned), encoding="utf-8")
    if as_json:
        said = {
            "app": app.name,
            "processors": processors(),
            "used_by_others": round(found.others, 3),
            "routes": [as_data(*each) for each in found.tuned],
        }
        click.echo(json.dumps(said))
    elif found.tuned:
        click.echo("\n\n".join(in_text(*each) for each in found.tuned))
    if found.failed:
        raise SystemExit(1)


def routes_to_load(app: Flask) -> list[str]:
    """The paths that ``GET`` needs no arguments for, our own pages and WebSockets left out."""
    return sorted(
        {
            rule.rule
            for rule in app.url_map.iter_rules()
            if "GET" in (rule.methods or ())
            and not rule.arguments
            and not rule.websocket
            and not rule.endpoint.startswith(OURS)
        }
    )
