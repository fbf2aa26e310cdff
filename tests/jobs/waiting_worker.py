"""A worker on a thread, which looks for jobs only when it is woken. Knows no kind of ledger."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from flask_concurrency.jobs.ledger import Outcome
from flask_concurrency.jobs.opening import open_ledger
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.jobs.worker import Worker

NEVER = 3_600.0
"""Seconds for which no worker of a test looks by itself."""
WITHIN = 30.0


class WaitingWorker:
    """A worker on a thread of its own; its attempts run until they are cancelled.

    :param poll: Seconds between two looks of its own.
    """

    def __init__(self, url: str, *, poll: float | None = NEVER) -> None:
        self.ledger = open_ledger(url, app="shop", volatile=True)
        self.begun: queue.Queue[JobRecord] = queue.Queue()
        self.attempts: queue.Queue[Future[Outcome]] = queue.Queue()
        self.worker = Worker(
            self.ledger, self._begin, ["report"], processes=2, poll=poll, drain_timeout=0.0
        )
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def _begin(self, record: JobRecord, worker: str) -> Future[Outcome]:
        self.begun.put(record)
        attempt = Future[Outcome]()
        self.attempts.put(attempt)
        return attempt

    def stop(self) -> bool:
        """Stop the worker; whether it came to its end."""
        self.worker.stop()
        self._thread.join(WITHIN)
        self.ledger.close()
        return not self._thread.is_alive()


def submit(url: str) -> str:
    """Submit a job as another process would; its id."""
    ledger = open_ledger(url, app="shop", volatile=True)
    try:
        return ledger.insert(new_record("report", [], {}, max_arguments=1_000))[0].id
    finally:
        ledger.close()
