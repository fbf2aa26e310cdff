"""Keep one hour of an app's history, a row of numbers each second, in memory of fixed size.

Knows rows of numbers; knows neither what they mean nor who asks for them.

All processes of a deployment share one mapped file. The process that holds its lock writes; the
kernel drops the lock when that process dies, however it does, and another takes over within a
second. A row's place follows from its second, so no writer needs to know what the last one wrote.

Layout: a header, then places of eight-byte floats, the first of which is the second the row is of.
It is cleared before the others are written and set after them: a writer that dies in between
leaves a row that no reader takes for one.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from flask_concurrency.stores.host.private_directory import locked_subdirectory
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.vocabulary.errors import StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.telemetry")

SECONDS: Final = 3_600
MAGIC: Final = b"\x89FlaskHI"
VERSION: Final = 1
HEADER: Final = struct.Struct("=8sII")
ROWS_AT: Final = 64
NAME: Final = f"history.ring{VERSION}"
_TIMEOUT: Final = 0.25

Row = tuple[float, ...]
"""The second it is of, since 1970, and then its numbers."""


class History:
    """One hour of rows.

    :param directory: Where the processes of a deployment keep their files; ``None`` for a history
        of this process alone.
    :param columns: Numbers a row has, its second not among them.
    """

    def __init__(self, directory: Path | None, columns: int) -> None:
        self._directory = directory if HOST_WORKS else None
        self._width = columns + 1
        self._size = ROWS_AT + 8 * self._width * SECONDS
        # One thread writes, and others read: of the file they must have one descriptor, because a
        # second one would not share its lock.
        self._lock = threading.Lock()
        self._memory: mmap.mmap | bytearray | None = None
        self._descriptor: int | None = None
        self._told = False
        self.writes = False

    def hold(self) -> bool:
        """Become the one that writes, if no other process is, and say whether that is so."""
        with self._lock:
            self.writes = (self.writes and self._is_in_place()) or self._take()
            return self.writes

    def _take(self) -> bool:
        if not self._open():
            return False
        if self._descriptor is not None:
            import fcntl

            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True

    def write(self, second: int, numbers: Sequence[float]) -> None:
        """Write the row of a second; only after :meth:`hold` said yes."""
        assert len(numbers) == self._width - 1
        at = ROWS_AT + second % SECONDS * 8 * self._width
        with self._lock:
            assert self._memory is not None
            struct.pack_into("=d", self._memory, at, 0.0)
            struct.pack_into(f"={len(numbers)}d", self._memory, at + 8, *numbers)
            struct.pack_into("=d", self._memory, at, float(second))

    def rows(self, *, after: int, until: int) -> list[Row]:
        """The rows of the seconds after one and up to another, oldest first."""
        found = []
        with self._lock:
            if not self._open():
                return []
            assert self._memory is not None
            for second in range(max(after, until - SECONDS) + 1, until + 1):
                at = ROWS_AT + second % SECONDS * 8 * self._width
                row = struct.unpack_from(f"={self._width}d", self._memory, at)
                if row[0] == second:
                    found.append(row)
        return found

    def close(self) -> None:
        """Let another process write."""
        with self._lock:
            self._close()

    def reset_after_fork(self) -> None:
        """Leave the parent its file, in a forked child, whatever its threads were doing."""
        self._lock = threading.Lock()
        self._close()

    def _close(self) -> None:
        self.writes = False
        memory, self._memory = self._memory, None
        if isinstance(memory, mmap.mmap):
            memory.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_in_place(self) -> bool:
        """Whether the file is still what its path names: it may have been removed."""
        if self._descriptor is None or self._directory is None:
            return self._directory is None
        with suppress(OSError):
            here, there = os.fstat(self._descriptor), os.stat(self._directory / NAME)
            return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        return False

    def _open(self) -> bool:
        if self._memory is not None and self._is_in_place():
            return True
        self._close()
        if self._directory is None:
            self._memory = bytearray(self._size)
            return True
        try:
            self._map(self._directory)
        except (OSError, StoreError) as error:
            if not self._told:
                logger.warning("The history of the dashboard cannot be kept: %s", error)
            self._told = True
            return False
        return True

    def _map(self, directory: Path) -> None:
        with locked_subdirectory(directory, timeout=_TIMEOUT):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(directory / NAME, flags, 0o600)
            try:
                header = HEADER.pack(MAGIC, VERSION, self._width)
                same = os.pread(descriptor, HEADER.size, 0) == header
                if not same or os.fstat(descriptor).st_size != self._size:
                    os.ftruncate(descriptor, 0)
                    # Written, not left as a hole: a page that the disk has no room for kills the
                    # process that touches it.
                    os.pwrite(descriptor, bytes(self._size), 0)
                    os.pwrite(descriptor, header, 0)
                self._memory = mmap.mmap(descriptor, self._size)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor
