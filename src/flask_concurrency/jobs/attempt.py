"""Run one attempt of a job, in the process that was given to it, and say how it ended.

Knows how to reach the ledger and the function; knows no worker loop and no pool.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import shutil
import traceback
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Final, TypeAlias

from flask_concurrency.jobs.ledger import INTERRUPTED, Ledger, Outcome
from flask_concurrency.jobs.record import Progress, as_json
from flask_concurrency.runtime.deadline import within
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import JobCanceled, JobNotJson, JobsUnavailable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

REPORT_EVERY: Final = 0.2
"""Seconds between two reports that are written; people cannot read faster."""
MAX_MESSAGE: Final = 500
MAX_DETAIL: Final = 4_000

logger: Final = SafeLogger("flask_concurrency.jobs")


Find: TypeAlias = Callable[[str], Callable[..., Any]]
"""Gives the function of a job by its name, or raises ``LookupError``. Crosses processes."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker has a process do.

    :ivar ledger: The ledger, which finds its storage again in another process.
    """

    id: str
    name: str
    worker: str
    attempt: int
    max_result: int
    ledger: Ledger
    find: Find


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A result that is a file, which its job has written; it is moved to where results are kept.

    :ivar path: Where the job has written it.
    :ivar mimetype: What it is. Default: guessed by its name.
    :ivar download_name: What it is called where it is downloaded. Default: its name.
    """

    path: str
    mimetype: str | None = None
    download_name: str | None = None


class Running:
    """The attempt that runs here: ``concurrency.jobs.current``.

    :ivar id: Of the job.
    :ivar attempt: Which start of it this is, from 1 on.
    """

    def __init__(
        self,
        id: str,
        attempt: int,
        report: Callable[[Progress], bool],
        *,
        clock: Clock = monotonic,
    ) -> None:
        self.id = id
        self.attempt = attempt
        self._report = report
        self._clock = clock
        self._written_at = -REPORT_EVERY
        self.unwritten: Progress | None = None

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """Say how far the job is; as often as you like, since at most five a second are written.

        :param fraction: From 0 to 1; ``None`` if it is not known.
        :param message: What it is doing, for people.
        :raises JobCanceled: The job was cancelled, or given to another worker: end it.
        :raises ValueError: ``fraction`` is no number from 0 to 1.
        """
        if fraction is not None:
            known = isinstance(fraction, int | float) and not isinstance(fraction, bool)
            if not known or not isfinite(fraction) or not 0 <= fraction <= 1:
                raise ValueError(f"progress({fraction!r}): give a number from 0 to 1, or None.")
            fraction = float(fraction)
        self.unwritten = Progress(fraction, str(message)[:MAX_MESSAGE])
        now = self._clock()
        if now - self._written_at < REPORT_EVERY:
            return
        self._written_at = now
        try:
            goes_on = self._report(self.unwritten)
        except JobsUnavailable:  # progress is worth less than the work itself
            return
        self.unwritten = None
        if not goes_on:
            raise JobCanceled(f"Job {self.id!r} was cancelled, or another worker has it now.")


_running: Final[ContextVar[Running | None]] = ContextVar("job", default=None)


def current_job() -> Running | None:
    """The attempt that runs here, if one does."""
    return _running.get()


def run_attempt(order: Order) -> Outcome:
    """Run one attempt; whatever it does short of ending the process, there is an outcome."""
    ledger, id, attempt = order.ledger, order.id, order.attempt
    with ledger.entered(order.worker, id) as alive:
        record = ledger.get(id) if alive else None
        if record is None or record.state.status != "running" or record.state.attempt != attempt:
            return Outcome("interrupted", error=INTERRUPTED)  # it was given up meanwhile
        running = Running(id, attempt, partial(ledger.report_progress, id, attempt))
        try:
            function = order.find(order.name)
        except LookupError as error:
            return Outcome("refused", error=problem_of(error, "unknown-job"))
        args, kwargs = record.call_arguments()
        with within(record.rules.timeout):
            return call(function, args, kwargs, running, order.max_result, ledger.files)


def call(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    running: Running,
    max_result: int,
    files: Path | None,
) -> Outcome:
    """Call a job's function, and make its outcome of what it returns or raises."""
    token = _running.set(running)
    try:
        value = function(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        result = _result(value, running, max_result, files)
    except JobCanceled:
        return Outcome("canceled", progress=running.unwritten)
    except JobNotJson as error:
        return Outcome("refused", error=problem_of(error, "result-not-kept"))
    except BaseException as error:  # SystemExit, too: a job ends itself, not its process
        logger.exception("Job %s: attempt %d failed.", running.id, running.attempt)
        return Outcome("error", error=_with_traceback(error), progress=running.unwritten)
    finally:
        _running.reset(token)
    return Outcome("succeeded", result=result, progress=running.unwritten)


def problem_of(error: BaseException, type: str, title: str | None = None) -> dict[str, str]:
    """What a record says of an error.

    :param title: Default: the name of its class.
    """
    try:
        detail = str(error)
    except Exception:
        detail = "(its text cannot be had)"
    title = title or error.__class__.__name__
    return {"type": type, "title": title, "detail": detail[:MAX_DETAIL]}


def _with_traceback(error: BaseException) -> dict[str, str]:
    told = "".join(traceback.format_exception(error))[-MAX_DETAIL:]
    return {**problem_of(error, "error"), "traceback": told}


def _result(value: object, running: Running, max_result: int, files: Path | None) -> str:
    if isinstance(value, ResultFile):
        return json.dumps({"file": _keep_file(value, running, files)})
    text = as_json({"value": value}, "The result")
    if len(text.encode()) > max_result:
        raise JobNotJson(
            f"The result takes {len(text.encode()):,} bytes as JSON; {max_result:,} are allowed. "
            "Write it to a file and return concurrency.jobs.file(path), or raise 'max_result'."
        )
    return text


def _keep_file(value: ResultFile, running: Running, files: Path | None) -> dict[str, Any]:
    """Move a file to where results are kept; it is on the disk when this returns."""
    if files is None:
        raise JobNotJson(
            "The result is a file, and this ledger keeps none. Store it where all machines can "
            "read it, and return its address."
        )
    source = Path(value.path)
    if not source.is_file():
        raise JobNotJson(f"The result is the file {str(source)!r}, which is not there.")
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    stored = files / f"{running.id}.{running.attempt}"
    shutil.move(source, stored)
    stored.chmod(0o600)
    for path in (stored, files):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return {
        "stored": stored.name,
        "name": value.download_name or source.name,
        "mimetype": value.mimetype,
        "size": stored.stat().st_size,
    }
