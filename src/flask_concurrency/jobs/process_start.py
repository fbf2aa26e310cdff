"""Begin an attempt in a process of an executor. Knows no loop and no kind of ledger.

Kills and memory caps are the executor's.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future

from flask_concurrency.jobs.attempt import Find, Order, run_attempt
from flask_concurrency.jobs.ledger import Ledger, Outcome
from flask_concurrency.jobs.record import JobRecord


class ProcessStart:
    """Begins attempts in the processes of an executor.

    :param executor: Ends the process of a task that is cancelled.
    :param find: Gives the function of a job in the process that runs it.
    :param max_result: Bytes that a result may take as JSON.
    """

    def __init__(self, ledger: Ledger, executor: Executor, find: Find, *, max_result: int) -> None:
        self._ledger = ledger
        self._executor = executor
        self._find = find
        self._max_result = max_result

    def __call__(self, record: JobRecord, worker: str) -> Future[Outcome]:
        """Begin the running attempt of a job; cancelling the future ends it."""
        order = Order(
            record.id,
            record.name,
            worker,
            record.state.attempt,
            self._max_result,
            self._ledger,
            self._find,
        )
        return self._executor.submit(run_attempt, order)
