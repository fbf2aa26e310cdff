"""Decide what the one thread of a pool does: read what no waiting thread reads, and close up.

Knows no message. Signal handlers never run on it, so it also mends what they interrupt; and it
calls the application's callbacks, so that no other thread meets what they raise.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from math import inf
from typing import Final, Protocol

from flask_concurrency.executors.processes.supervisor import Supervisor
from flask_concurrency.executors.processes.watch import TIMER, Watch
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

_LONGEST: Final = 86400.0  # a longer wait is cut into days; epoll counts in milliseconds


class Attended(Protocol):
    """What the thread asks of its pool."""

    def handle_ready(self, fd: int) -> None:
        """Read what a registered worker sends."""

    def register_deferred(self) -> None:
        """Leave workers that no thread came to read to this one."""

    def retire_idle(self, now: float) -> float:
        """End the workers that have been idle for long, and return when to look again."""

    def close(self, *, only_if_done: bool) -> bool:
        """End the workers, once everything is done, and return whether that was so."""


class BackgroundReader:
    """The thread that lives as long as the workers of one pool may.

    :param on_close: Called last of all.
    :ivar waits_inside: How many callbacks wait for other tasks; :meth:`call` wakes them.
    """

    def __init__(
        self,
        name: str,
        watch: Watch,
        supervisor: Supervisor,
        pool: Attended,
        on_close: Callable[[], object],
    ) -> None:
        self._name = name
        self._watch = watch
        self._supervisor = supervisor
        self._pool = pool
        self._on_close = on_close
        self._calls: deque[Callable[[], object]] = deque()
        self._calls_lock = threading.Lock()
        self._look_at = -inf
        self.waits_inside = 0
        self._given_up = self._ended = False
        # In an empty context: the callbacks of futures have no business with the request during
        # which the pool happened to start.
        self._thread = threading.Thread(
            target=Context().run, args=(self._run,), name=f"{name}-reader", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def give_up(self) -> None:
        """End the thread, whose start was interrupted; it frees what it was given, if it runs."""
        self._given_up = True
        if self._thread.ident is None:
            self._watch.close()
        else:
            self._watch.wake()

    def is_this_thread(self) -> bool:
        """Whether the caller runs on it, in a callback of a future."""
        return threading.current_thread() is self._thread

    def join(self) -> None:
        """Wait until all is closed, unless this is the thread that closes it."""
        if not self.is_this_thread():
            self._thread.join()

    def call(self, call: Callable[[], object]) -> bool:
        """Have ``call`` made on the thread; ``False`` if it has ended."""
        with self._calls_lock:
            if self._ended:
                return False
            self._calls.append(call)
        self._watch.wake()
        return True

    def work_until(self, signal: threading.Lock, timeout: float | None) -> bool:
        """Do the thread's work until a lock is free, or for ``timeout`` seconds.

        For a callback that waits for another task: no other thread reads the workers meanwhile.

        :returns: Whether the lock was free; it is taken then.
        """
        end_at = inf if timeout is None else monotonic() + timeout
        self.waits_inside += 1
        try:
            while not signal.acquire(blocking=False):
                left = end_at - monotonic()
                if left <= 0:
                    return False
                self._work(left)
        finally:
            self.waits_inside -= 1
        return True

    def _run(self) -> None:
        while not self._given_up and not self._may_end():
            self._work(inf)
        self._supervisor.stop()
        self._watch.close()
        self._on_close()

    def _may_end(self) -> bool:
        if self._calls or not self._pool.close(only_if_done=True):
            return False
        with self._calls_lock:
            self._ended = not self._calls
        while not self._ended:  # calls of the last moment
            self._make_calls()
            with self._calls_lock:
                self._ended = not self._calls
        return True

    def _work(self, longest: float) -> None:
        """Wait once for anything to do, and do it."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = self._pool.retire_idle(now)
        if self._calls:
            longest = 0.0
        left = min(longest, max(0.0, self._look_at - now), _LONGEST)
        for fd in self._watch.wait(left):
            self._make(partial(self._handle_ready, fd))
        self._make_calls()

    def _make_calls(self) -> None:
        for _ in range(len(self._calls)):
            try:
                call = self._calls.popleft()
            except IndexError:  # one of the calls waits for a task, and made the others
                return
            self._make(call)
            del call  # a result is not to live until the next one comes

    def _make(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException:  # from a callback; no reply may be lost for it
            logger.exception("A callback of a task of %r failed", self._name)

    def _handle_ready(self, fd: int) -> None:
        if fd == TIMER:
            self._pool.register_deferred()
        elif not self._supervisor.handle_ready(fd):
            self._pool.handle_ready(fd)
