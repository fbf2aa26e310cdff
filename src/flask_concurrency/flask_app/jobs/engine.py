"""The contract of an engine: what carries the ids of jobs to workers. Knows no engine.

The record stays the truth. An engine may lose an id, deliver it late, twice, or while its job runs:
a claim decides whether anything starts, and :meth:`CarriedJobs.sweep` sends again what got lost.
So nothing is required of how it is set up.

An adapter writes :meth:`Engine.send`, calls :meth:`CarriedJobs.run` for each id in its worker, and
:meth:`CarriedJobs.sweep` every few seconds anywhere.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from functools import partial
from typing import Final, Protocol

from flask import Flask

from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, find_function
from flask_concurrency.jobs.attempt import Running, call
from flask_concurrency.jobs.ledger import Ledger, Outcome, WorkerInfo
from flask_concurrency.jobs.record import JobRecord
from flask_concurrency.jobs.worker import too_long
from flask_concurrency.vocabulary.clock import monotonic, wall
from flask_concurrency.vocabulary.errors import JobsUnavailable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

LOOK_EVERY: Final = 0.2
"""Seconds between two looks whether a running job was cancelled."""
SEND_AGAIN_AFTER: Final = 30.0
"""Seconds after which a job that is due and was not claimed is sent again; then twice as many each
time: its message may just stand in a long queue."""
SENT_AT_ONCE: Final = 1_000

logger: Final = SafeLogger("flask_concurrency.jobs")


class Engine(Protocol):
    """Carries ids of jobs to workers."""

    def send(self, id: str, queue: str, delay: float) -> None:
        """Carry an id to a worker of a queue, after so many seconds. It may get lost."""


class CarriedJobs:
    """Runs jobs whose ids an engine delivers, in the process in which it delivers them."""

    def __init__(self, app: Flask, jobs: AppJobs) -> None:
        self._app = app
        self._jobs = jobs
        self._lock = threading.Lock()
        self._worker: tuple[int, str] | None = None
        self._waits: dict[tuple[str, float], float] = {}

    def run(self, id: str) -> str:
        """Run a job here, unless it is not to be run; what it is afterwards.

        A job that is cancelled or takes too long ends this process: engines replace a process that
        ends, and nothing else ends code that does not look.
        """
        ledger = self._jobs.ledger
        record = ledger.get(id)
        if record is None or record.name not in self._jobs.declared:
            return "unknown"  # of a newer program, perhaps: it is sent again later
        claimed = ledger.claim_one(self._joined(), id)
        if claimed is None:
            return "not due"
        ended = threading.Event()
        threading.Thread(
            target=self._watch, args=(claimed, ended), name="job-watch", daemon=True
        ).start()
        try:
            after = self._call(ledger, claimed)
        finally:
            ended.set()
        if after is None:
            return "lost"
        self._jobs.send(after)
        return after.state.status

    def sweep(self) -> None:
        """Give up what dead workers had, send what got lost, and remove what has expired."""
        ledger = self._jobs.ledger
        try:
            for record in ledger.rescue():
                ledger.tell("rescued", record)
                ledger.tell_end(record)
                self._jobs.send(record, now=record.state.due_at)
            self._send_again(ledger.due(self._jobs.names(), SENT_AT_ONCE), ledger.now())
            ledger.purge(SENT_AT_ONCE)
        except JobsUnavailable as error:
            logger.warning("Jobs cannot be looked after at the moment: %s", error)

    def _send_again(self, due: list[JobRecord], now: float) -> None:
        known, self._waits = self._waits, {}
        for record in due:
            key = record.id, record.state.due_at
            wait = known.get(key, SEND_AGAIN_AFTER)
            if now - record.state.due_at >= wait:
                self._jobs.send(record, now=now)
                wait *= 2
            self._waits[key] = wait

    def _call(self, ledger: Ledger, record: JobRecord) -> JobRecord | None:
        attempt = record.state.attempt
        report = partial(ledger.report_progress, record.id, attempt)
        args, kwargs = record.call_arguments()
        with self._app.app_context():
            running = Running(record.id, attempt, report)
            outcome = call(
                find_function(record.name),
                args,
                kwargs,
                running,
                self._jobs.options.max_result,
                ledger.files,
            )
        return ledger.end(record.id, attempt, outcome)

    def _watch(self, claimed: JobRecord, ended: threading.Event) -> None:
        """End this process if its job is cancelled, lost to another worker, or takes too long."""
        ledger, attempt = self._jobs.ledger, claimed.state.attempt
        timeout, begun_at = claimed.rules.timeout, monotonic()
        while not ended.wait(LOOK_EVERY):
            try:
                now = ledger.get(claimed.id)
                if now is not None and now.state.status == "running":
                    if now.state.attempt == attempt and not now.state.cancel_requested:
                        if timeout is None or monotonic() - begun_at < timeout:
                            continue
                        after = ledger.end(claimed.id, attempt, too_long(timeout))
                        if after is not None:
                            self._jobs.send(after)
                    else:
                        ledger.end(claimed.id, attempt, Outcome("canceled"))
            except JobsUnavailable:
                continue
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGKILL)

    def _joined(self) -> str:
        """This process as a worker, known to the ledger; a forked child is another one."""
        with self._lock:
            if self._worker is None or self._worker[0] != os.getpid():
                process = os.getpid()
                id = f"{socket.gethostname()[:60]}-{process}-{secrets.token_hex(8)}"
                names = tuple(sorted(self._jobs.declared))
                info = WorkerInfo(id, socket.gethostname(), process, names, 1, wall())
                self._jobs.ledger.join(info)
                self._worker = process, id
            return self._worker[1]
