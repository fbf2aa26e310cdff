"""Gather the commands of ``flask concurrency``. Knows none of what they do.

Flask loads this for every app of an environment, also for those that never asked for limits.
"""

from __future__ import annotations

import click

from flask_concurrency.cli.doctor.command import doctor
from flask_concurrency.cli.explain import explain
from flask_concurrency.cli.jobs import jobs
from flask_concurrency.cli.serve import serve
from flask_concurrency.cli.status import reset, status
from flask_concurrency.cli.tune.command import tune
from flask_concurrency.cli.worker import worker


@click.group()
def concurrency() -> None:
    """Serve an app and see what limits it."""


concurrency.add_command(serve)
concurrency.add_command(explain)
concurrency.add_command(doctor)
concurrency.add_command(tune)
concurrency.add_command(status)
concurrency.add_command(reset)
concurrency.add_command(worker)
concurrency.add_command(jobs)
