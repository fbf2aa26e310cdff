"""Keep the counters of one process in a mapped file, so that they outlive it.

Knows names and numbers; knows neither requests nor limits.

Each process of a deployment holds one file for life, by a lock that the kernel drops when the
process dies, however it dies. The next process to start takes the lowest file that is free and goes
on counting in it: what a dead worker counted stays, and the number of files is the number of
processes that ever ran at the same time. So the sum of all files never falls, and needs no process
to collect it. Only the holder writes to a file; readers take no lock.

Layout: a header, cells of eight bytes, and the names of the cells as lines of JSON. A cell gets its
name before the header says that the name is there: a process that dies between the two leaves bytes
that no process reads, and that the next holder writes over.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import stat
import struct
from collections.abc import Hashable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from flask_concurrency.stores.host.private_directory import locked_subdirectory
from flask_concurrency.telemetry.names import Name, Series
from flask_concurrency.vocabulary.errors import StoreUnavailable

MAGIC: Final = b"\x89FlaskCT"
VERSION: Final = 1
HEADER: Final = struct.Struct("=8sIIQ")
"""Magic, version, number of cells, and the bytes of names that are complete."""
NAMES_USED: Final = struct.Struct("=Q")
NAMES_USED_AT: Final = 16
CELLS_AT: Final = 64
CELLS: Final = 32_768
NAMES: Final = 448 * 1024
MOST_FILES: Final = 256


class CounterFile:
    """The file of this process.

    :ivar path: Where it is.
    :ivar cells: Its numbers. To add to one is the holder's right alone.
    :ivar series: Its names.
    :ivar places: See :class:`~flask_concurrency.telemetry.cells.Cells`.
    """

    def __init__(self, path: Path, descriptor: int, cells: int, names: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, CELLS_AT + 8 * cells + names)
        self.cells = memoryview(self._memory)[CELLS_AT : CELLS_AT + 8 * cells].cast("Q")
        self._names_at = CELLS_AT + 8 * cells
        self._names_size = names
        self.series: dict[Name, Series] = dict(names_in(self._memory, self._names_at))
        self.places: dict[Hashable, Any] = {}
        self._next = max((s.first + s.width for s in self.series.values()), default=0)

    def register(self, name: Name, width: int = 1) -> Series | None:
        """The cells of a name, which it gets now if it has none; ``None`` if the file is full."""
        found = self.series.get(name)
        if found is not None:
            return found
        made = Series(self._next, width)
        record = json.dumps([*made, *name], separators=(",", ":")).encode() + b"\n"
        (used,) = NAMES_USED.unpack_from(self._memory, NAMES_USED_AT)
        if made.first + width > len(self.cells) or used + len(record) > self._names_size:
            return None
        at = self._names_at + used
        self._memory[at : at + len(record)] = record
        NAMES_USED.pack_into(self._memory, NAMES_USED_AT, used + len(record))
        self._next += width
        self.series[name] = made
        return made

    def is_in_place(self) -> bool:
        """Whether the file is still what its path names: it may have been removed."""
        with suppress(OSError):
            here, there = os.fstat(self._descriptor), os.stat(self.path)
            return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        return False

    def close(self) -> None:
        """Let the next process take the file. Its numbers stay."""
        self.cells.release()
        self._memory.close()
        os.close(self._descriptor)


def claim_file(
    directory: Path, *, timeout: float, cells: int = CELLS, names: int = NAMES
) -> CounterFile:
    """Take the lowest file that no living process holds, making it if there is none.

    :param directory: Where the files of a deployment are; made if it is missing.
    :param timeout: Seconds to wait for another process that does the same.
    :raises StoreUnavailable: Others could change the files, or too many processes have one.
    :raises OSError: The system refuses, for instance because the disk is full.
    """
    with locked_subdirectory(directory, timeout=timeout):
        for number in range(MOST_FILES):
            path = directory / f"{number}.v{VERSION}"
            descriptor = _open(path)
            try:
                if _hold(descriptor):
                    _prepare(descriptor, path, cells, names)
                    return CounterFile(path, descriptor, cells, names)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    raise StoreUnavailable(
        f"{MOST_FILES} processes count in {str(directory)!r} already. Start fewer processes, or "
        "give this deployment its own CONCURRENCY_NAMESPACE."
    )


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise StoreUnavailable(f"{str(path)!r} is not a regular file. Move it away.")
    return descriptor


def _hold(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prepare(descriptor: int, path: Path, cells: int, names: int) -> None:
    """Make an empty file of what is new, damaged, or of another size."""
    size = CELLS_AT + 8 * cells + names
    start = os.pread(descriptor, HEADER.size, 0)
    if len(start) == HEADER.size and os.fstat(descriptor).st_size == size:
        magic, version, found_cells, used = HEADER.unpack(start)
        if (magic, version, found_cells) == (MAGIC, VERSION, cells) and used <= names:
            return
    os.ftruncate(descriptor, 0)
    try:
        # Room is taken now: writing to a mapped file whose disk is full kills the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS
            os.pwrite(descriptor, bytes(size), 0)
    except OSError:
        os.ftruncate(descriptor, 0)
        raise
    os.pwrite(descriptor, HEADER.pack(MAGIC, VERSION, cells, 0), 0)


def names_in(content: bytes | mmap.mmap, at: int) -> Iterator[tuple[Name, Series]]:
    """The names that a file holds, and where their numbers are.

    :param at: Where its names begin.
    """
    (used,) = NAMES_USED.unpack_from(content, NAMES_USED_AT)
    for line in bytes(content[at : at + used]).splitlines():
        first, width, *name = json.loads(line)
        yield tuple(name), Series(first, width)
