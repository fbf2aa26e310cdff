"""Count what happens in this process, and add up what happened in all processes of a host.

Knows names and numbers; knows neither requests nor limits, and no way to show them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.telemetry.cells import Cells, CellsInMemory
from flask_concurrency.telemetry.names import Change, Name, Series, Totals, added_up
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


class Counters:
    """The counters of one app in this process. A forked child counts in a file of its own.

    A name's numbers only grow. Nothing is opened before the first count. Where no file can be had
    (a full disk, a platform without file locks) this process counts in its memory, says so once in
    the log, and tries again; what it counted meanwhile goes into the file then.

    :param directory: Where the processes of a deployment keep their files; ``None`` for memory
        alone.
    :param clock: Seconds that never go back.
    :ivar lock: Held while numbers change.
    :ivar here: Where this process counts at the moment: a file, or its memory.
    :ivar counts_until_at: The instant until which what is added to the cells of :attr:`here`
        counts, by a clock like the counters' own; to be read under :attr:`lock`. From then on what
        is to be added has to be given to :meth:`add`, because this process counts elsewhere by now,
        or may have to. For those that count each request: they keep where their numbers are, and
        add to them while they hold the lock. To find the places anew each time takes four times as
        long (``bench counting-parts``). Each addition by itself leaves the numbers right, so what
        the garbage collector adds in between breaks nothing.
    """

    def __init__(self, directory: Path | None, *, clock: Clock = monotonic) -> None:
        self._directory = directory if HOST_WORKS else None
        self._clock = clock
        self._mirror: Callable[[Iterable[Change]], object] | None = None
        self._reset()
        call_in_child(self, Counters._reset_after_fork)

    def _reset(self) -> None:
        # Re-entrant: the garbage collector may end a task in the middle of any line. What it adds
        # then waits until the line is through.
        self.lock = threading.RLock()
        self._reading = threading.Lock()
        self._reader: CounterReader | None = None
        self._adding = False
        self._later: list[Change] = []
        self._file: CounterFile | None = None
        self.here: Cells = CellsInMemory()
        self._look_at = self.counts_until_at = 0.0
        self._failed = False
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
        if self._mirror is not None:
            changes = list(changes)
            self._mirror(changes)
        with self.lock:
            if self._adding:
                self._later.extend(changes)
                return
            self._adding = True
            try:
                now = self._clock()
                if now >= self._look_at:
                    self._look()
                    self._look_at = now + LOOK_EVERY
                    self._set_counts_until_at()
                self._add(changes)
                while self._later:
                    later, self._later = self._later, []
                    self._add(later)
            finally:
                self._adding = False

    @property
    def mirror(self) -> Callable[[Iterable[Change]], object] | None:
        """Given whatever is added, to count it elsewhere as well; must not raise."""
        return self._mirror

    @mirror.setter
    def mirror(self, mirror: Callable[[Iterable[Change]], object] | None) -> None:
        with self.lock:
            self._mirror = mirror
            self._set_counts_until_at()

    def _set_counts_until_at(self) -> None:
        self.counts_until_at = self._look_at if self._mirror is None else -inf

    def totals(self) -> Totals:
        """The numbers of all processes of the deployment on this host, added up by name."""
        with self.lock:
            self._look()
            here = self.here
            kept = here.totals() if isinstance(here, CellsInMemory) else {}
        if self._directory is None:
            return kept
        from flask_concurrency.telemetry.counter_reader import CounterReader

        with self._reading:
            if self._reader is None:
                self._reader = CounterReader(self._directory)
            written = self._reader.totals()
        return added_up([kept, written]) if kept else written

    def close(self) -> None:
        """Let another process take the file."""
        with self.lock:
            if self._file is not None:
                file, self._file, self.here = self._file, None, CellsInMemory()
                file.close()

    def _add(self, changes: Iterable[Change]) -> None:
        here = self.here
        series, cells = here.series, here.cells
        for name, width, index, amount in changes:
            found = series.get(name) or self._registered(here, name, width)
            if found is not None:
                cells[found[0] + index] += amount

    def _registered(self, here: Cells, name: Name, width: int) -> Series | None:
        found = here.register(name, width)
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
            lost, self._file, self.here = self._file, None, CellsInMemory()
            lost.close()
        from flask_concurrency.telemetry.counter_file import claim_file

        try:
            file = claim_file(self._directory, timeout=_TIMEOUT)
        except (OSError, StoreError) as error:
            if not self._failed:
                logger.warning("This process counts in its memory alone: %s", error)
            self._failed = True
            return
        self._failed = False
        kept, self._file, self.here = self.here, file, file
        if isinstance(kept, CellsInMemory):
            for name, numbers in kept.totals().items():
                found = self._registered(file, name, len(numbers))
                for index, number in enumerate(numbers if found is not None else ()):
                    assert found is not None
                    file.cells[found.first + index] += number
