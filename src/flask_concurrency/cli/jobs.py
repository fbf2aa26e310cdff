"""``flask concurrency jobs``: list an app's jobs, show one, cancel it, queue it again, clear up.

Knows the commands' options and outputs; the jobs are in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load
from flask_concurrency.cli.sentences import layout
from flask_concurrency.cli.worker import app_jobs
from flask_concurrency.flask_app.jobs.openapi import fragment
from flask_concurrency.jobs.ledger import Filter, Ledger
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.policies.job_state import STATUSES
from flask_concurrency.vocabulary.clock import wall
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable

PURGED_AT_ONCE = 500


@click.group()
def jobs() -> None:
    """List the app's jobs, show one, cancel it, or queue it again."""


@jobs.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@click.option("--owner", metavar="OWNER", help="Only this owner's.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def list_jobs(
    info: ScriptInfo, status: str | None, owner: str | None, limit: int, as_json: bool
) -> None:
    """List jobs, newest first, and say who runs them."""
    with _ledger(info) as ledger:
        found = ledger.find(Filter(owner, status, limit))  # type: ignore[arg-type] # a choice of it
        counts, workers = ledger.counts(), ledger.workers()
    if as_json:
        told = {
            "counts": asdict(counts),
            "workers": [asdict(worker) for worker in workers],
            "jobs": [_plain(record) for record in found],
        }
        click.echo(json.dumps(told, indent=2))
        return
    waits = ""
    if counts.longest_wait is not None:
        waits = f", the longest waits for {_duration(counts.longest_wait)}"
    click.echo(
        f"{counts.queued} queued{waits}; {counts.running} running; "
        f"{len(workers)} {'worker' if len(workers) == 1 else 'workers'} alive"
    )
    if counts.queued and not workers and app_jobs(load(info)).engine is None:
        click.echo("No worker is alive: start one with 'flask concurrency worker'.")
    for record in found:
        click.echo(f"{record.id}  {record.state.status:<9}  {_when(record)}  {_about(record)}")


@jobs.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@pass_script_info
def show(info: ScriptInfo, id: str, as_json: bool) -> None:
    """Show one job: its arguments, every attempt, its error or result; who runs it."""
    with _ledger(info) as ledger:
        record = _found(ledger.get(id), id)
        workers = [worker for worker in ledger.workers() if worker.id == record.worker]
    if as_json:
        click.echo(json.dumps(_plain(record), indent=2))
        return
    rows = [
        ("status", record.state.status),
        ("owner", record.owner or "none"),
        ("queue", record.queue),
        ("submitted", _instant(record.created_at)),
        ("arguments", record.arguments),
    ]
    if record.progress is not None:
        fraction = record.progress.fraction
        far = "" if fraction is None else f"{fraction:.0%} "
        rows.append(("progress", f"{far}{record.progress.message}"))
    for attempt in record.attempts:
        told = f"{_instant(attempt.started_at)}, runs"
        if attempt.ended_at is not None:
            took = _duration(attempt.ended_at - attempt.started_at)
            told = f"{_instant(attempt.started_at)}, {attempt.how} after {took}"
        rows.append((f"attempt {attempt.number}", told))
    rows += [("worker", f"process {each.process} on {each.host}") for each in workers]
    if record.result is not None:
        rows.append(("result", record.result))
    if record.error is not None:
        rows.append(("error", f"{record.error['title']}: {record.error['detail']}"))
    click.echo(layout([(f"{record.name} {record.id}", rows)]))
    if record.error is not None and "traceback" in record.error:
        click.echo(f"\n{record.error['traceback'].rstrip()}")


@jobs.command()
@click.argument("id")
@pass_script_info
def cancel(info: ScriptInfo, id: str) -> None:
    """End a job: at once if it is queued, by its worker if it runs."""
    with _ledger(info) as ledger:
        record = _found(ledger.cancel(id), id)
    if record.state.status == "running":
        click.echo(f"{id}: its worker is told to end it.")
    elif record.state.status == "canceled":
        click.echo(f"{id}: canceled.")
    else:
        raise click.ClickException(f"{id} has {record.state.status} already.")


@jobs.command()
@click.argument("id")
@pass_script_info
def retry(info: ScriptInfo, id: str) -> None:
    """Queue a job again that failed or was cancelled, with fresh budgets."""
    with _ledger(info) as ledger:
        again = ledger.retry(id)
        if again is None:
            record = _found(ledger.get(id), id)
            raise click.ClickException(
                f"{id} is {record.state.status}: only one that failed or was cancelled can be "
                "queued again."
            )
    click.echo(f"{id}: queued, attempt {again.state.attempt + 1} comes next.")


@jobs.command()
@pass_script_info
def purge(info: ScriptInfo) -> None:
    """Remove jobs whose time to be kept is over; workers do it, too, every half minute."""
    removed = 0
    with _ledger(info) as ledger:
        while some := ledger.purge(PURGED_AT_ONCE):
            removed += some
    click.echo(f"{removed} removed.")


@jobs.command()
@pass_script_info
def openapi(info: ScriptInfo) -> None:
    """Print the routes of jobs as JSON, for the app's own OpenAPI 3.1 document."""
    app = load(info)
    app_jobs(app)
    click.echo(json.dumps(fragment(app), indent=2))


@contextmanager
def _ledger(info: ScriptInfo) -> Iterator[Ledger]:
    try:
        ledger = app_jobs(load(info)).ledger
        yield ledger
        ledger.close()
    except (ConfigurationError, JobsUnavailable) as error:
        raise click.ClickException(str(error)) from None


def _found(record: JobRecord | None, id: str) -> JobRecord:
    if record is None:
        raise click.ClickException(f"There is no job {id!r}, or no longer.")
    return record


def _plain(record: JobRecord) -> dict[str, Any]:
    told = record._asdict()
    told |= told.pop("state")._asdict()
    told["rules"] = asdict(record.rules)
    told["progress"] = None if record.progress is None else asdict(record.progress)
    told["attempts"] = [asdict(attempt) for attempt in record.attempts]
    told["arguments"] = json.loads(record.arguments)
    told["result"] = None if record.result is None else json.loads(record.result)
    return told


def _when(record: JobRecord) -> str:
    return f"{_duration(wall() - record.created_at):>5} ago"


def _about(record: JobRecord) -> str:
    told = [record.name]
    if record.owner:
        told.append(f"of {record.owner}")
    if record.state.attempt > 1:
        told.append(f"attempt {record.state.attempt}")
    if record.progress is not None and record.progress.fraction is not None:
        told.append(f"{record.progress.fraction:.0%}")
    if record.state.status == "failed" and record.error is not None:
        told.append(record.error["title"])
    return ", ".join(told)


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
