"""``flask concurrency doctor``: its options, its output and its exit status."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load, not_served, state_of
from flask_concurrency.cli.doctor.checks import examine
from flask_concurrency.cli.doctor.facts import Facts
from flask_concurrency.cli.doctor.finding import Finding
from flask_concurrency.cli.doctor.server_command import ServerCommand, read_server
from flask_concurrency.cli.routes import list_routes
from flask_concurrency.cli.sentences import paragraph
from flask_concurrency.flask_app.app_snapshot import read_processes
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.status_file import ExecutorStatus

OURS = ("concurrency-", "await-exit", "threads_")
"""How the names of our own threads begin."""


@click.command()
@click.option(
    "--server",
    "command",
    metavar="COMMAND",
    help="How the app is served, such as 'gunicorn -w 4 shop:app'.  "
    "[default: from Procfile, gunicorn.conf.py or GUNICORN_CMD_ARGS]",
)
@click.option("--ignore", multiple=True, metavar="CHECK", help="Leave out what this check finds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def doctor(info: ScriptInfo, command: str | None, ignore: tuple[str, ...], as_json: bool) -> None:
    """Say what is wrong with how the app is deployed, why, and the line that mends it.

    Reads the app, its configuration, the server's and the environment, and what the processes of a
    running server have published on this machine; starts nothing and sends nothing. Exits with 1 if
    it finds an error, which a CI can tell.
    """
    before = set(threading.enumerate())
    app = load(info)
    state = state_of(app)
    if state is None:
        raise click.ClickException(not_served(app))
    started = [t.name for t in threading.enumerate() if t not in before]
    try:
        server = read_server(command, directory=Path.cwd(), environment=os.environ)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    facts = Facts(
        app=app,
        settings=state.settings,
        store_uri=state.store_uri,
        routes=tuple(list_routes(app, state)),
        server=server,
        environment=os.environ,
        threads=tuple(name for name in started if not name.startswith(OURS)),
        processes=tuple(_running(app, state)),
    )
    found = [finding for finding in examine(facts) if finding.check not in ignore]
    if as_json:
        text = {
            "app": app.name,
            "server": None if server is None else asdict(server),
            "findings": [asdict(finding) for finding in found],
        }
        click.echo(json.dumps(text, indent=2))
    else:
        click.echo(_text(found, server))
    if any(finding.severity == "error" for finding in found):
        raise SystemExit(1)


def _running(app: Flask, state: AppState) -> list[ExecutorStatus]:
    try:
        return read_processes(app, state)
    except StoreError:  # of another user, say: then nothing is known of a running server
        return []


def _text(found: list[Finding], server: ServerCommand | None) -> str:
    lines = [_served(server), ""]
    for finding in found:
        colour = "red" if finding.severity == "error" else "yellow"
        lines.append(f"{click.style(finding.severity, fg=colour, bold=True)}  {finding.check}")
        lines += [paragraph(finding.what, indent=2), paragraph(finding.why, indent=2)]
        lines += [f"    {line}" for line in finding.remedy.splitlines()]
        lines.append("")
    counts = Counter(finding.severity for finding in found)
    lines.append(
        ", ".join(f"{number} {kind}{'' if number == 1 else 's'}" for kind, number in counts.items())
        or "Nothing is wrong as far as can be seen from here."
    )
    return "\n".join(lines)


def _served(server: ServerCommand | None) -> str:
    if server is None:
        return paragraph(
            "How the app is served is not known, so threads, timeouts and drain are not checked. "
            "Say it with --server 'gunicorn -w 4 shop:app'."
        )
    number = server.threads
    at_once = "any number of requests" if number is None else f"{number} requests"
    at_once = "one request" if number == 1 else at_once
    name = "flask concurrency serve" if server.server == "serve" else server.server
    kind = f" {server.worker_class}" if server.worker_class else ""
    workers = f"{server.workers} worker{'' if server.workers == 1 else 's'}"
    return paragraph(
        f"{name}{kind}, {workers}, each with {at_once} at once (from {server.source})."
    )
