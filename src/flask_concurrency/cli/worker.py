"""``flask concurrency worker``: run the app's jobs, until SIGTERM or Ctrl-C.

Knows the command's options, signals and what to print; the work is the worker's.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import Flask
from flask.cli import ScriptInfo, pass_script_info

from flask_concurrency.cli.chosen_app import load, not_served, state_of
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, jobs_of
from flask_concurrency.flask_app.jobs.app_worker import worker_of
from flask_concurrency.jobs.worker import Worker
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable

LOOK_FOR_PARENT_EVERY = 0.5


@click.command()
@click.option("--queues", metavar="NAMES", help="Run jobs of these queues only, such as a,b.")
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    help="Jobs that run at once. Default: as configured, else the CPUs this process may use.",
)
@click.option("--burst", is_flag=True, help="End once no job is due.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0.0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running jobs get when the worker stops; those left start again elsewhere.",
)
@click.option("--parent", type=int, hidden=True, help="End with this process.")
@pass_script_info
def worker(
    info: ScriptInfo,
    queues: str | None,
    processes: int | None,
    burst: bool,
    drain_timeout: float,
    parent: int | None,
) -> None:
    """Run the app's jobs, each in a process of its own pool, until SIGTERM or Ctrl-C.

    Start as many workers as you like: a job runs on one of them. Jobs of a worker that is killed
    start again on another one, or on the next.
    """
    app = load(info)
    jobs = app_jobs(app)
    chosen = [queue.strip() for queue in queues.split(",")] if queues else []
    known = {job.queue for job in jobs.declared.values()}
    for queue in chosen:
        if queue not in known:
            raise click.UsageError(
                f"No job is of the queue {queue!r}. There are: {', '.join(sorted(known))}."
            )
    _log_to_the_terminal()
    try:
        jobs.ledger.check()
        with (
            worker_of(
                app, jobs, queues=chosen, processes=processes, drain_timeout=drain_timeout
            ) as made,
            _stopped_when_told(made, parent),
        ):
            click.echo(
                f"Running the jobs of {app.name!r}: {', '.join(sorted(jobs.names(chosen)))}. "
                f"Kept in {jobs.url_of_ledger(app)}. Ctrl-C stops."
            )
            sys.stdout.flush()
            made.run(burst=burst)
    except (ConfigurationError, JobsUnavailable) as error:
        raise click.ClickException(str(error)) from None


def app_jobs(app: Flask) -> AppJobs:
    """What an app has for its jobs.

    :raises click.ClickException: It has declared none, or never called ``init_app``.
    """
    if state_of(app) is None:
        raise click.ClickException(not_served(app))
    jobs = jobs_of(app)
    if jobs is None or not jobs.declared:
        raise click.ClickException(
            f"{app.name!r} has no jobs: decorate a function with @concurrency.job."
        )
    return jobs


@contextmanager
def _stopped_when_told(made: Worker, parent: int | None) -> Iterator[None]:
    """Stop the worker at a signal, and when the process it was started for is gone."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: made.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }

    def watch() -> None:
        while os.getppid() == parent and not ended.wait(LOOK_FOR_PARENT_EVERY):
            pass
        made.stop()

    if parent is not None:
        threading.Thread(target=watch, name="watch-parent", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_the_terminal() -> None:
    """Print what the worker logs, unless the app has said what is to become of its log."""
    logger = logging.getLogger("flask_concurrency.jobs")
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
