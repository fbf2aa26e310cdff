"""Add up the counter files of a deployment again and again, without reading their names each time.

Knows files and names; writes nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flask_concurrency.telemetry.counter_file import (
    CELLS_AT,
    HEADER,
    MAGIC,
    VERSION,
    names_in,
)
from flask_concurrency.telemetry.names import Name, Series, Totals


class _Known(NamedTuple):
    """What is remembered of a file: which one it was, how many bytes of names, and these."""

    identity: tuple[int, int, int]
    names: tuple[tuple[Name, Series], ...]
    cells: int


class CounterReader:
    """The sums of all files of a directory. One thread at a time may read.

    :param directory: Where the processes of a deployment keep their files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[Path, _Known] = {}

    def totals(self) -> Totals:
        """The numbers of all processes, living or dead, added up by name."""
        sums: dict[Name, tuple[int, ...]] = {}
        with suppress(FileNotFoundError):
            for path in self._directory.glob(f"*.v{VERSION}"):
                with suppress(OSError, ValueError):
                    self._add(path, sums)
        return sums

    def _add(self, path: Path, sums: dict[Name, tuple[int, ...]]) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            start = os.pread(descriptor, HEADER.size, 0)
            if len(start) < HEADER.size:
                return
            magic, version, cells, used = HEADER.unpack(start)
            if (magic, version) != (MAGIC, VERSION):
                return
            known = self._known.get(path)
            identity = found.st_dev, found.st_ino, used
            if known is None or known.identity != identity:
                content = os.pread(descriptor, found.st_size, 0)
                names = tuple(names_in(content, CELLS_AT + 8 * cells))
                last = max((series.first + series.width for _, series in names), default=0)
                known = self._known[path] = _Known(identity, names, last)
            numbers = memoryview(os.pread(descriptor, 8 * known.cells, CELLS_AT)).cast("Q")
        finally:
            os.close(descriptor)
        for name, (first, width) in known.names:
            here = tuple(numbers[first : first + width])
            there = sums.get(name)
            if there is None:
                sums[name] = here
            elif len(there) == len(here):  # else an older version counted in other buckets
                sums[name] = tuple(map(int.__add__, there, here))
