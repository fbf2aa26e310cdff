"""Keep count of what becomes of a crew's tasks. Knows neither queue nor threads.

Counts are guarded by the lock of the crew; the rest needs none.
"""

from __future__ import annotations

from concurrent.futures import Future
from threading import get_ident
from typing import Any, get_args

from flask_concurrency.executors.threads.task import Outcome, Task
from flask_concurrency.runtime.durations import Durations


class Books:
    """What runs, and how what has run did end.

    :ivar counts: Tasks by how they ended.
    :ivar refused: Tasks that found the queue full.
    :ivar running: Tasks that run, and the identifiers of their threads.
    :ivar background: Futures of background tasks that have not ended.
    :ivar durations: How long tasks waited and ran.
    """

    def __init__(self) -> None:
        self.counts: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        self.refused = 0
        self.running: dict[Task, int] = {}
        self.background: set[Future[Any]] = set()
        self.durations = Durations()

    def overdue(self, now: float) -> int:
        """How many tasks run although their deadline has passed."""
        running = self.running.copy()
        return sum(task.deadline is not None and now >= task.deadline.at for task in running)

    def running_elsewhere(self) -> list[str]:
        """Names of the tasks that run in other threads than the calling one."""
        here = get_ident()
        return [task.name for task, ident in self.running.copy().items() if ident != here]
