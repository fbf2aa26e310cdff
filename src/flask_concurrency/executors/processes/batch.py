"""Decide how many tasks of one ``map`` stand in the queue at a time. Knows no lock and no worker.

A ``map`` may be longer than the queue, and shall not keep everybody else out of it until it is
through: it takes at most one place for each worker, and its next task takes the place of one that
has ended. The pool calls all this under its lock.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.task import Task


class Batch:
    """The tasks of one ``map``.

    :ivar placed: Tasks that stand in the queue or have a worker.
    :ivar waiting: Tasks that do not, in their order.
    """

    __slots__ = ("placed", "waiting")

    def __init__(self) -> None:
        self.placed = 0
        self.waiting: OrderedDict[int, Task] = OrderedDict()
