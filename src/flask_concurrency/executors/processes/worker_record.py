"""Hold what the owner knows of one worker. Decides nothing; the pool's lock guards it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_concurrency.executors.processes.wire import Channel

if TYPE_CHECKING:
    from flask_concurrency.executors.processes.round import Round
    from flask_concurrency.executors.processes.task import Task


class WorkerRecord:
    """A worker process, seen from its owner.

    :ivar number: Counts the workers of a pool from 1; the launcher knows the worker by it.
    :ivar ready: It has said that its set-up is done.
    :ivar task: What it works on.
    :ivar replies: Tasks it has answered.
    :ivar dismissed: It belongs to the pool no more. If a round holds it, that closes the channel.
    :ivar holder: The round whose thread alone may use ``channel`` now; see ``round.py``.
    :ivar idle_since: Monotonic instant of its last answer, if it is idle.
    :ivar exitcode: What the process ended with, once the launcher has told.
    :ivar killed_because: Why this process had it killed; ``None`` if it did not.
    :ivar lost_because: Why the launcher ended, and this worker with it; ``None`` if it did not.
    """

    __slots__ = (
        "channel",
        "dismissed",
        "exitcode",
        "holder",
        "idle_since",
        "killed_because",
        "lost_because",
        "number",
        "ready",
        "replies",
        "task",
    )

    def __init__(self, number: int, channel: Channel) -> None:
        self.number = number
        self.channel = channel
        self.ready = False
        self.task: Task | None = None
        self.replies = 0
        self.dismissed = False
        self.idle_since = 0.0
        self.holder: Round | None = None
        self.exitcode: int | None = None
        self.killed_because: str | None = None
        self.lost_because: str | None = None
