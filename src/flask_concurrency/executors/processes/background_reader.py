"""Decide what the one thread of a pool does: read what no waiting thread reads, and close up.

Knows no message. It has no other work, so that a reply, a death and a deadline are noticed even if
nobody asks for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from math import inf
from typing import Final

from flask_concurrency.executors.processes.cancellation import Recall
from flask_concurrency.executors.processes.readers import Desk, Round
from flask_concurrency.executors.processes.replies import Exchange
from flask_concurrency.executors.processes.schedule import Roster
from flask_concurrency.executors.processes.supervisor import Staff
from flask_concurrency.executors.processes.watch import REMINDER, Watch
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

_LONGEST: Final = 86400.0  # a longer wait is cut into days; epoll counts in milliseconds


class Collector:
    """The thread that lives as long as the workers of one pool may.

    :param on_close: Called last of all.
    """

    def __init__(
        self,
        lock: threading.Lock,
        roster: Roster,
        desk: Desk,
        staff: Staff,
        exchange: Exchange,
        recall: Recall,
        watch: Watch,
        on_close: Callable[[], object],
    ) -> None:
        self._lock = lock
        self._roster = roster
        self._desk = desk
        self._staff = staff
        self._exchange = exchange
        self._recall = recall
        self._watch = watch
        self._on_close = on_close
        self._name = roster.options.name
        # In an empty context: the callbacks of futures have no business with the request during
        # which the pool happened to start.
        self._thread = threading.Thread(
            target=Context().run, args=(self._run,), name=f"{self._name}-collector", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_this_thread(self) -> bool:
        """Whether the caller runs on it, in a callback of a future."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float | None = None) -> None:
        """Wait until all is closed, unless this is the thread that closes it."""
        if not self.is_this_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        look_at = -inf
        while not self._may_close():
            look_at = self._retire_idle(look_at)
            left = None if look_at == inf else max(0.0, look_at - monotonic())
            found = self._watch.wait(None if left is None else min(left, _LONGEST))
            errands = [partial(self._attend, fd) for fd in found]
            while self._recall.late:
                errands.append(partial(self._exchange.complete, self._recall.late.popleft()))
            for errand in errands:
                try:
                    errand()
                except BaseException:  # from a callback; no reply may be lost for it
                    logger.exception("A callback of a task of %r failed", self._name)
            del errands  # a result is not to live until the next one comes
        self._close()

    def _attend(self, fd: int) -> None:
        if fd == REMINDER:
            with self._lock:
                self._desk.arm_lingering()
            return
        if self._staff.attend(fd):
            return
        round = Round(of_collector=True)
        with self._lock:
            worker = self._desk.take_armed(fd, round)
        if worker is None:  # another thread was faster
            return
        try:
            # The number may have been given to a newer worker since it was found readable.
            if worker.channel.readable():
                self._exchange.serve(round, worker)
        finally:
            self._exchange.end(round)

    def _retire_idle(self, look_at: float) -> float:
        """End the workers that have been idle for long, and say when to look again."""
        now = monotonic()
        if now < look_at:
            return look_at
        with self._lock:
            spare, look_at = self._roster.overdue_idlers(now)
            for worker in spare:
                self._roster.dismiss(worker)
        for worker in spare:
            worker.channel.close()  # which it takes as the end
        return look_at

    def _may_close(self) -> bool:
        with self._lock:
            roster = self._roster
            held = any(worker.holder is not None for worker in roster.workers.values())
            return roster.closing and not roster.unfinished and not held

    def _close(self) -> None:
        with self._lock:
            workers = list(self._roster.workers.values())
            for worker in workers:
                self._desk.release(worker)
                self._roster.dismiss(worker)
        for worker in workers:
            worker.channel.close()  # which it takes as the end
        self._staff.stop()
        self._watch.close()
        self._on_close()
