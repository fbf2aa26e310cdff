"""Decide how shared memory is made, filled, seen and freed. Knows no task and no pickle.

A segment is an anonymous file in memory (``memfd_create``): it has no name that could be left
behind, is not bounded by the size of ``/dev/shm`` (64 MB in many containers), needs no tracker,
and is gone with the last process that has it open or mapped, however that process ends.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from flask_concurrency.executors.processes.shared_memory.layout import Place

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUPPORTED: Final = fcntl is not None and hasattr(os, "memfd_create") and hasattr(socket, "send_fds")

_COPIED_AT_ONCE: Final = 1 << 20
"""Bytes. A copy keeps other threads from running Python; between two pieces they get their turn."""

_SEALS: Final = (
    fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    if SUPPORTED
    else 0
)

_POPULATE: Final = getattr(mmap, "MAP_POPULATE", 0)

_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_fork)


def forks() -> int:
    """How often this process has forked: a child may look at what was mapped before, for ever."""
    return _forks


class Descriptor:
    """A file descriptor that is closed with the object that holds it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self, close: Any = os.close) -> None:
        try:
            close(self.number)
        except OSError:  # pragma: no cover # other code has closed it
            return


class Segment:
    """A block of memory that other processes can map.

    :ivar number: Distinguishes the segments of an owner; never used twice.
    :ivar size: Bytes that may be used.
    :ivar written: Bytes from the start that hold memory already; writing there costs no more than
        a copy.
    """

    __slots__ = ("_map", "descriptor", "number", "size", "written")

    def __init__(self, number: int, descriptor: Descriptor, size: int, written: int = 0) -> None:
        self.number = number
        self.descriptor = descriptor
        self.size = size
        self.written = written
        self._map: mmap.mmap | None = None

    def write(self, buffers: Sequence[memoryview], places: Sequence[Place]) -> None:
        """Copy buffers in.

        :raises OSError: There is no memory for them.
        """
        end = places[-1].end
        if end > self.written:
            # The kernel takes new pages and fills them in one go; other threads run meanwhile.
            write_file(self.descriptor, buffers, places)
            self.written = end
            return
        if self._map is None:
            self._map = map_shared(self.descriptor, self.size, self.written)
        copy_in(self._map, buffers, places)

    def view(self, length: int) -> mmap.mmap:
        """Map the content privately: no other process sees what is written there."""
        return mmap.mmap(
            self.descriptor.number,
            length,
            flags=mmap.MAP_PRIVATE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )

    def free(self) -> None:
        """Give the memory back at once, also that of a process that still has it mapped.

        That process must not look at it again: only for a segment that no object refers to.
        """
        os.ftruncate(self.descriptor.number, 0)
        self._map = None


def make_descriptor() -> Descriptor:
    """Open an empty file in memory.

    :raises OSError: The system has none, or too many files are open.
    """
    return Descriptor(os.memfd_create("flask-concurrency", os.MFD_CLOEXEC))


def make_sealed(content: memoryview) -> Descriptor:
    """Make a file in memory with some content, to which no process can write any more.

    :raises OSError: The system has no memory for it, or too many files are open.
    """
    name, flags = "flask-concurrency", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    descriptor = Descriptor(os.memfd_create(name, flags))
    write_file(descriptor, [content], [Place(0, content.nbytes)])
    fcntl.fcntl(descriptor.number, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def map_shared(descriptor: Descriptor, size: int, written: int) -> mmap.mmap:
    """Map a segment to read and to write.

    :param written: Bytes that hold memory already.
    :raises OSError: The address space of this process is used up, or its descriptors.
    """
    if os.fstat(descriptor.number).st_size < size:
        os.ftruncate(descriptor.number, size)
    flags = mmap.MAP_SHARED
    if written >= size - size // 8:
        flags |= _POPULATE  # one visit instead of one for each page; it would fill large gaps
    if sys.version_info >= (3, 13):  # before, every map keeps a descriptor of its own
        return mmap.mmap(descriptor.number, size, flags=flags, trackfd=False)
    return mmap.mmap(descriptor.number, size, flags=flags)


def copy_in(target: mmap.mmap, buffers: Sequence[memoryview], places: Sequence[Place]) -> None:
    """Copy buffers into a map."""
    for buffer, place in zip(buffers, places, strict=True):
        for start in range(0, place.length, _COPIED_AT_ONCE):
            piece = buffer[start : start + _COPIED_AT_ONCE]
            target[place.at + start : place.at + start + len(piece)] = piece


def write_file(
    descriptor: Descriptor, buffers: Sequence[memoryview], places: Sequence[Place]
) -> None:
    """Write buffers to a file in memory.

    :raises OSError: There is no memory for them.
    """
    for buffer, place in zip(buffers, places, strict=True):
        done = 0
        while done < place.length:
            done += os.pwrite(descriptor.number, buffer[done:], place.at + done)
