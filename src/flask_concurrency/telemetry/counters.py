"""Count what happens in this process, and add up what happened in all processes of a host.

Knows names and numbers; knows neither requests nor limits, and no way to show them.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.telemetry.names import Change, Name, Series, Totals
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

if TYPE_CHECKING:
    from flask_concurrency.telemetry.counter_file import CounterFile
    from flask_concurrency.telemetry.counter_reader import CounterReader

logger = SafeLogger("flask_concurrency.telemetry")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether the file is still in its place, or can be had again."""

_TIMEOUT: Final = 0.25
MOST_NAMES: Final = 8_192


class Counters:
    """The counters of one app in this process. A forked child counts in a file of its own.

    A name's numbers only grow. Nothing is opened before the first count. Where no file can be had
    (a full disk, a platform without file locks) this process counts in its memory, says so once in
    the log, and tries again; what it counted meanwhile goes into the file then.

    :param directory: Where the processes of a deployment keep their files; ``None`` for memory
        alone.
    :param clock: Seconds that never go back.
    :ivar mirror: Given whatever is added, to count it elsewhere as well; must not raise.
    """

    def __init__(self, directory: Path | None, *, clock: Clock = monotonic) -> None:
        self._directory = directory if HOST_WORKS else None
        self._clock = clock
        self.mirror: Callable[[Iterable[Change]], object] | None = None
        self._reset()
        call_in_child(self, Counters._reset_after_fork)

    def _reset(self) -> None:
        # Re-entrant: the garbage collector may end a task in the middle of any line. What it adds
        # then waits until the line is through.
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        self._reader: CounterReader | None = None
        self._adding = False
        self._later: list[Change] = []
        self._file: CounterFile | None = None
        self._look_at = 0.0
        self._failed = False
        self._numbers: defaultdict[Name, list[int]] = defaultdict(list)
        self.dropped = 0

    def _reset_after_fork(self) -> None:
        """Leave the parent its file; its lock must not be held by this process, too."""
        file = self._file
        self._reset()
        if file is not None:
            file.close()

    def add(self, changes: Iterable[Change]) -> None:
        """Add to some numbers at once.

        :param changes: Names, how many numbers each has, which of them grows, and by how much.
        """
        if self.mirror is not None:
            changes = list(changes)
            self.mirror(changes)
        with self._lock:
            if self._adding:
                self._later.extend(changes)
                return
            self._adding = True
            try:
                now = self._clock()
                if now >= self._look_at:
                    self._look()
                    self._look_at = now + LOOK_EVERY
                self._add(changes)
                while self._later:
                    later, self._later = self._later, []
                    self._add(later)
            finally:
                self._adding = False

    def totals(self) -> Totals:
        """The numbers of all processes of the deployment on this host, added up by name."""
        with self._lock:
            self._look()
            kept = {name: tuple(numbers) for name, numbers in self._numbers.items()}
        if self._directory is None:
            return kept
        from flask_concurrency.telemetry.counter_reader import CounterReader

        with self._reading:
            if self._reader is None:
                self._reader = CounterReader(self._directory)
            return _sum([kept, self._reader.totals()])

    def close(self) -> None:
        """Let another process take the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _add(self, changes: Iterable[Change]) -> None:
        file = self._file
        if file is None:
            for change in changes:
                self._keep(*change)
            return
        series, cells = file.series, file.cells
        for name, width, index, amount in changes:
            found = series.get(name) or self._registered(file, name, width)
            if found is not None:
                cells[found[0] + index] += amount

    def _keep(self, name: Name, width: int, index: int, amount: int) -> None:
        numbers = self._numbers[name]
        if not numbers:
            if len(self._numbers) > MOST_NAMES:
                del self._numbers[name]
                self._drop()
                return
            numbers.extend([0] * width)
        numbers[index] += amount

    def _registered(self, file: CounterFile, name: Name, width: int) -> Series | None:
        found = file.register(name, width)
        if found is None:
            self._drop()
        return found

    def _drop(self) -> None:
        if not self.dropped:
            logger.warning(
                "There are more kinds of requests and limits than the counters have room for; "
                "the newest are not counted."
            )
        self.dropped += 1

    def _look(self) -> None:
        """Have a file if one can be had; under the lock."""
        if self._directory is None:
            return
        if self._file is not None:
            if self._file.is_in_place():
                return
            logger.warning("%s was removed; counting goes on in a new file.", self._file.path)
            lost, self._file = self._file, None
            lost.close()
        from flask_concurrency.telemetry.counter_file import claim_file

        try:
            self._file = claim_file(self._directory, timeout=_TIMEOUT)
        except (OSError, StoreError) as error:
            if not self._failed:
                logger.warning("This process counts in its memory alone: %s", error)
            self._failed = True
            return
        self._failed = False
        kept, self._numbers = self._numbers, defaultdict(list)
        for name, numbers in kept.items():
            found = self._registered(self._file, name, len(numbers))
            for index, number in enumerate(numbers if found is not None else ()):
                assert found is not None
                self._file.cells[found.first + index] += number


def _sum(parts: Iterable[Totals]) -> Totals:
    total: dict[Name, tuple[int, ...]] = {}
    for part in parts:
        for name, numbers in part.items():
            found = total.get(name)
            if found is None:
                total[name] = numbers
            elif len(found) == len(numbers):  # else an older version counted in other buckets
                total[name] = tuple(a + b for a, b in zip(found, numbers, strict=True))
    return total
