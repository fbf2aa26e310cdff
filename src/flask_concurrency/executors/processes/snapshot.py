"""Say what a process executor is doing. Holds values alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask_concurrency.runtime.durations import DurationsSnapshot


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """What a :class:`ProcessExecutor` was doing at one instant.

    What is counted is counted since the executor was first used in this process.

    :ivar workers: Worker processes, those that are still starting included.
    :ivar max_workers: Worker processes that there may be.
    :ivar busy: Workers that have a task.
    :ivar queued: Tasks that wait for a worker.
    :ivar max_queue: Tasks that may wait; ``None`` for any number.
    :ivar waiting: Callers that wait for a slot in the queue.
    :ivar done: Tasks that returned.
    :ivar failed: Tasks that raised, could not be sent back, or lost their worker.
    :ivar cancelled: Tasks that were cancelled, waiting or running.
    :ivar expired: Tasks whose deadline passed, waiting or running.
    :ivar refused: Tasks that found the queue full.
    :ivar killed: Workers that the executor itself killed.
    :ivar durations: How long tasks that a worker answered waited and ran lately.
    """

    workers: int = 0
    max_workers: int = 0
    busy: int = 0
    queued: int = 0
    max_queue: int | None = None
    waiting: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    killed: int = 0
    durations: DurationsSnapshot = field(default_factory=DurationsSnapshot)
