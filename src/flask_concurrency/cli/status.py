"""``flask concurrency status`` and ``reset``: look into a running server's counts, or clear some.

Knows the commands' options and outputs; the counts are the engine's, read from the shared store.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load, shared_state_of
from flask_concurrency.cli.executor_lines import executor_rows
from flask_concurrency.cli.job_lines import job_rows
from flask_concurrency.cli.load_lines import (
    COUNTS_NOTHING,
    age_line,
    fleet_rows,
    load_rows,
    other_spelling,
    refusal_rows,
)
from flask_concurrency.cli.overload_lines import overload_rows
from flask_concurrency.cli.sentences import layout, paragraph
from flask_concurrency.engine.snapshot import LimiterSnapshot
from flask_concurrency.flask_app.app_snapshot import (
    Snapshot,
    read_snapshot,
    reset_counts,
)
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.telemetry.in_words import duration
from flask_concurrency.vocabulary.errors import StoreError

EVERY = 1.0
"""Seconds between two looks of ``--watch``."""


@click.command()
@click.option(
    "--key", metavar="KEY", help="Also show what this client has used, such as 192.0.2.7."
)
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def status(info: ScriptInfo, key: str | None, watch: bool, as_json: bool) -> None:
    """Show what the running server does: who is inside, who waits, what is used, what works.

    Stores keep digests of clients' keys, not the keys: to see one client, name it with --key.
    Executors are those of this machine's processes, as they were two seconds ago at most.
    """
    app = load(info)
    state = shared_state_of(app)

    before: Snapshot | None = None

    def show() -> None:
        nonlocal before
        found = _look(app, state, key)
        if watch and not as_json:
            click.clear()
        if as_json:
            click.echo(_json(found))
        else:
            color = False if os.environ.get("NO_COLOR") else None  # https://no-color.org
            click.echo(_table(app.name, before, found, key), color=color)
        before = found

    if not (watch or as_json) and state.counters.counts_requests:
        before = _look(app, state, key)  # a rate needs two looks
        time.sleep(EVERY)
    show()
    with suppress(KeyboardInterrupt):  # as one ends it
        while watch:
            time.sleep(EVERY)
            show()


@click.command()
@click.argument("key", required=False)
@click.option("--all", "every_key", is_flag=True, help="Every key of every limit.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask whether --all is meant.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def reset(info: ScriptInfo, key: str | None, every_key: bool, yes: bool, as_json: bool) -> None:
    """Reset the rates of KEY, in every limit of the app; permits stay held.

    KEY is what the limit counts by, such as 192.0.2.7; "" for what counts all requests together.
    """
    if (key is None) != every_key:
        raise click.UsageError("Name a KEY, or say --all: one of the two.")
    app = load(info)
    state = shared_state_of(app)
    if every_key and not yes:
        question = f"Start the rates of all keys anew, in all limits of {app.name!r}?"
        click.confirm(question, abort=True, err=True)
    try:
        number = reset_counts(app, state, key=key, name=None)
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    if key is not None and not number:
        raise click.ClickException(f"No limit of {app.name!r} has counted the key {key!r} lately.")
    if as_json:
        click.echo(json.dumps({"app": app.name, "key": key, "reset": number}))
    else:
        what = "count" if key is None else "limit"
        whose = "all keys" if key is None else repr(key)
        starts = "starts" if number == 1 else "start"
        click.echo(f"{number} {what}{'' if number == 1 else 's'} of {whose} {starts} anew.")


def _look(app: Flask, state: AppState, key: str | None) -> Snapshot:
    try:
        return read_snapshot(app, state, key=key)
    except StoreError as error:
        raise click.ClickException(str(error)) from None


def _json(found: Snapshot) -> str:
    return json.dumps(asdict(found))


def _table(app: str, before: Snapshot | None, snapshot: Snapshot, key: str | None) -> str:
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    for title, rows in (
        ("Requests", load_rows(before, snapshot)),
        ("Refused", refusal_rows(before, snapshot)),
    ):
        if rows:
            sections.append((title, rows))
    if snapshot.fleet is not None and snapshot.fleet.hosts > 1:
        sections.append((f"All {snapshot.fleet.hosts} hosts", fleet_rows(snapshot.fleet)))
    inside = [found for found in snapshot.limits if found.period is None]
    rates = [found for found in snapshot.limits if found.period is not None]
    if inside:
        sections.append(("In flight", [(_title(f), _inside(f)) for f in inside]))
    if rates:
        whose = f"Used by {key}" if key is not None else "Used by all requests together"
        sections.append((whose, [(_title(f), _used(f)) for f in rates]))
    statuses = list(snapshot.processes)
    published = [("Overload", overload_rows(statuses)), ("Executors", executor_rows(statuses))]
    sections += [(title, rows) for title, rows in published if rows]
    if snapshot.jobs is not None:
        sections.append(("Jobs", job_rows(snapshot.jobs, snapshot.job_events)))
    if not sections:
        return "No limit counts all requests together; name a client with --key KEY."
    lines = [age_line(app, snapshot, time.strftime("%H:%M:%S %Z", time.localtime(snapshot.at)))]
    lines += ["", layout(sections)]
    if snapshot.load is None:
        lines += ["", paragraph(COUNTS_NOTHING)]
    hint = None if key is None else other_spelling(key, snapshot)
    if hint is not None:
        lines += ["", paragraph(hint)]
    return "\n".join(lines)


def _title(found: LimiterSnapshot) -> str:
    return f"{found.route}: {found.name}" if found.route else found.name


def _inside(found: LimiterSnapshot) -> str:
    text = f"{found.used} of {found.quota} inside"
    return f"{text}, {found.waiting} of {found.max_queue} waiting" if found.max_queue else text


def _used(found: LimiterSnapshot) -> str:
    text = f"{found.used} of {found.used + found.remaining}"
    return (
        f"{text}, more in {duration(found.reset_after)}"
        if found.used and found.reset_after
        else text
    )
