"""Say what a thread executor is doing. Holds values alone."""

from __future__ import annotations

from dataclasses import dataclass

from flask_concurrency.runtime.durations import DurationsSnapshot


@dataclass(frozen=True, slots=True)
class ThreadsSnapshot:
    """The state of a thread executor at one instant, and what became of its tasks so far.

    :ivar workers: Threads that exist; more than ``max_workers`` only where that many wait for an
        event loop.
    :ivar max_workers: Threads that may be at work.
    :ivar busy: Threads that run a task.
    :ivar queued: Tasks that wait for a thread.
    :ivar max_queue: Tasks that may wait; ``None`` for any number.
    :ivar waiting: Callers that wait for a place in the queue.
    :ivar overdue: Tasks that run although their deadline has passed.
    :ivar spawned: Background tasks that have not ended.
    :ivar done: Tasks that returned.
    :ivar failed: Tasks that raised, or ran past their deadline.
    :ivar cancelled: Tasks cancelled before they started.
    :ivar expired: Tasks dropped because their deadline passed before they started.
    :ivar refused: Tasks that found the queue full.
    :ivar durations: How long the last tasks waited and ran.
    """

    workers: int
    max_workers: int
    busy: int
    queued: int
    max_queue: int | None
    waiting: int
    overdue: int
    spawned: int
    done: int
    failed: int
    cancelled: int
    expired: int
    refused: int
    durations: DurationsSnapshot
