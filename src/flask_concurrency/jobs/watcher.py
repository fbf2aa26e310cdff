"""Notify the followers of jobs of changes: one thread polls for all of them.

To ask a SQLite file whether anything was written takes 2 microseconds; only then is anything read.
The thread lives while there is anything to watch. Knows no request and no event loop.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask_concurrency.jobs.ledger import Ledger
from flask_concurrency.vocabulary.errors import JobsUnavailable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

EVERY: Final = 0.05
"""Seconds between two looks."""

logger: Final = SafeLogger("flask_concurrency.jobs")


@dataclass(slots=True, eq=False)
class _Watch:
    read: Callable[[], Any]
    deliver: Callable[[Any], object]
    last: Any


class Watcher:
    """The watcher of one ledger in one process; a forked child has none of its parent's watches.

    :param every: Seconds between two looks.
    """

    def __init__(self, ledger: Ledger, *, every: float = EVERY) -> None:
        self._ledger = ledger
        self._every = every
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._watches: set[_Watch] = set()
        self._thread: threading.Thread | None = None

    def watch(
        self, read: Callable[[], Any], deliver: Callable[[Any], object], known: object
    ) -> Callable[[], None]:
        """Call ``deliver`` with what ``read`` returns, each time that differs from before.

        Both are called on the watcher's thread, and must not block.

        :param known: What ``read`` has returned to the caller.
        :returns: Ends it.
        """
        if self._process != os.getpid():
            self._begin()
        watch = _Watch(read, deliver, known)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="concurrency-jobs", daemon=True
                )
                self._thread.start()

        def end() -> None:
            with self._lock:
                self._watches.discard(watch)

        return end

    def _run(self) -> None:
        seen: object = None
        fresh: set[_Watch] = set()
        while True:
            with self._lock:
                if not self._watches:
                    self._thread = None
                    return
                watches = set(self._watches)
            try:
                changes = self._ledger.changes()
                # A change between a caller's own reading and its first look here is reported, too.
                for watch in watches if changes != seen else watches - fresh:
                    _look(watch)
                seen, fresh = changes, watches
            except JobsUnavailable as error:
                logger.warning("Jobs cannot be followed at the moment: %s", error)
            except Exception:
                logger.exception("Jobs cannot be followed at the moment.")
            time.sleep(self._every)


def _look(watch: _Watch) -> None:
    value = watch.read()
    if value != watch.last:
        watch.last = value
        watch.deliver(value)
