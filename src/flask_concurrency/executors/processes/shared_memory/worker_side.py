"""Decide what a worker does with shared memory: how it opens a call's, and where it puts results.

Knows the form of messages; no socket, no pool, no pickle. A call's segment belongs to the task
while it runs, to read and to write. It goes back with the reply, unless something still refers to
it: then it stays with this worker for good, and the owner uses it no more.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from typing import Final

from flask_concurrency.executors.processes.shared_memory.buffer_message import (
    FRESH,
    SHARED,
    Known,
    Load,
    Manifest,
    open_pickle,
    read,
)
from flask_concurrency.executors.processes.shared_memory.buffers import Opened, Pickled
from flask_concurrency.executors.processes.shared_memory.segment import (
    SUPPORTED,
    Descriptor,
    copy_in,
    forks,
    make_descriptor,
    map_shared,
    write_file,
)
from flask_concurrency.executors.processes.shared_memory.shared_arrays import map_sealed
from flask_concurrency.executors.processes.wire import BufferMessage, Received
from flask_concurrency.vocabulary.errors import ExecutorError

_COUNTS: Final = hasattr(sys, "getrefcount")


class ReplyMessage(BufferMessage):
    """A result with large buffers, which are the task's own until the reply is sealed."""

    load: Load
    manifest: Manifest
    descriptor: Descriptor | None

    @classmethod
    def pack(cls, pickled: Pickled) -> ReplyMessage:
        """Wrap a result."""
        reply = cls()
        reply.load = Load(pickled)
        reply.manifest = Manifest()
        reply.descriptor = None
        return reply

    def parts(self) -> tuple[Sequence[bytes | memoryview], Sequence[int]]:
        """Return what is sent."""
        numbers = () if self.descriptor is None else (self.descriptor.number,)
        return self.load.write(self.manifest), numbers


class Mapping:
    """A segment of the owner, which stays mapped: to map it anew costs more than most copies.

    :ivar known: What the owner said of it with the call that is being run.
    """

    __slots__ = ("_alone", "_forks", "_map", "descriptor", "known")

    def __init__(self, known: Known, descriptor: Descriptor) -> None:
        self._map = map_shared(descriptor, known.size, known.written)
        self._alone = self._references()
        self.come(known, descriptor)

    def come(self, known: Known, descriptor: Descriptor) -> None:
        """Belong to a call."""
        self.known = known
        self.descriptor: Descriptor | None = descriptor
        self._forks = forks()

    def view(self) -> memoryview:
        """Make a view. All that lies in the segment refers to such a view, and that to the map."""
        return memoryview(self._map)

    def is_clean(self) -> bool:
        """Whether nothing refers to the content, in this process or in a copy of it."""
        return self._references() == self._alone and self._forks == forks()

    def fits(self, load: Load) -> bool:
        """Whether a result can be written here."""
        return load.size <= self.known.size and self.is_clean()

    def write(self, load: Load) -> None:
        """Copy a result in.

        :raises OSError: There is no memory for it.
        """
        if load.size <= self.known.written:
            copy_in(self._map, load.buffers, load.places)
        elif self.descriptor is not None:
            write_file(self.descriptor, load.buffers, load.places)

    def _references(self) -> int:
        # Whether a map is exported cannot be asked; but each export holds a reference.
        return sys.getrefcount(self._map) if _COUNTS else id(object())


class MappedSegments:
    """The segments that a worker knows, and those of the call it is at.

    :param shares_memory: Large results may take shared memory, also where no call brought any.
    """

    def __init__(self, *, shares_memory: bool = True) -> None:
        self._shares_memory = shares_memory and SUPPORTED
        self._mappings: dict[int, Mapping] = {}
        self._arguments: Mapping | None = None
        self._spare: Mapping | None = None
        self._arrays: dict[int, mmap.mmap] = {}

    @property
    def size(self) -> int:
        """Bytes of the owner's memory that this process has mapped."""
        segments = sum(mapping.known.size for mapping in self._mappings.values())
        return segments + sum(map(len, self._arrays.values()))

    @property
    def keeps_arrays(self) -> bool:
        """Whether shared arrays of the last call are still mapped.

        They stay for the next call, because the page faults of a new map take longer than to read
        it: of 21 ms to map and sum up 64 MiB, 12 (``python -m benchmarks array-shared``).
        """
        return bool(self._arrays)

    def forget_arrays(self) -> None:
        """Unmap them, but for those that a task has kept."""
        self._arrays = {}

    def open(self, payload: Received) -> Opened:
        """Return the pickle of a call that has buffers.

        :raises ExecutorError: The segment of its arguments cannot be mapped.
        """
        manifest, rest = read(payload)
        for gone in self._mappings.keys() - set(manifest.numbers):
            del self._mappings[gone]
        count = len(manifest.known) + len(manifest.shared_sizes)
        descriptors = [*map(Descriptor, payload.take_descriptors(count))]
        for known, descriptor in zip(manifest.known, descriptors, strict=False):
            mapping = self._map(known, descriptor)
            if known.number == manifest.segment:
                self._arguments = mapping
            else:
                self._spare = mapping
        view = None if self._arguments is None else self._arguments.view()
        opened = open_pickle(manifest, rest, view)
        before, self._arrays = self._arrays, {}
        if not manifest.shared:
            return opened
        buffers, maps = list(opened.buffers), []
        for size, descriptor in zip(
            manifest.shared_sizes, descriptors[len(manifest.known) :], strict=True
        ):
            number = os.fstat(descriptor.number).st_ino
            try:
                shared = before.get(number) or map_sealed(descriptor, size)
            except (OSError, ValueError) as error:
                raise _cannot_map(size, error) from error
            self._arrays[number] = shared
            maps.append(memoryview(shared))
        for part in manifest.shared:
            buffers.insert(part.position, maps[part.array][part.at : part.at + part.length])
        return Opened(opened.stream, buffers)

    def seal(self, reply: bytes) -> bytes:
        """Put a result's buffers where they are sent from, and part with the call's segments.

        To be called once the task has ended and its arguments are forgotten.
        """
        arguments, spare = self._arguments, self._spare
        if not isinstance(reply, ReplyMessage):
            if arguments is None and spare is None:
                return reply
            reply = ReplyMessage.pack((reply, []))
        self._arguments = self._spare = None
        placed = reply.load.size >= SHARED and self._place(reply, [arguments, spare])
        if arguments is not None and not placed:
            reply.load.copy_buffers()  # they may be parts of the segment that is parted with
        for mapping in (arguments, spare):
            if mapping is not None:
                mapping.descriptor = None
        if arguments is not None and not arguments.is_clean():
            del self._mappings[arguments.known.number]
            reply.manifest = reply.manifest._replace(clean=False)
        return reply

    def _map(self, known: Known, descriptor: Descriptor) -> Mapping:
        mapping = self._mappings.get(known.number)
        if mapping is not None:
            mapping.come(known, descriptor)
            return mapping
        try:
            mapping = Mapping(known, descriptor)
        except (OSError, ValueError) as error:
            raise _cannot_map(known.size, error) from error
        self._mappings[known.number] = mapping
        return mapping

    def _place(self, reply: ReplyMessage, mappings: Sequence[Mapping | None]) -> bool:
        """Copy a large result into shared memory, and return whether there was any."""
        if not self._shares_memory:
            return False
        load = reply.load
        try:
            for mapping in mappings:
                if mapping is not None and mapping.fits(load):
                    mapping.write(load)
                    number = mapping.known.number
                    break
            else:
                fresh = make_descriptor()
                write_file(fresh, load.buffers, load.places)
                reply.descriptor, number = fresh, FRESH
        except OSError:  # there is no memory for it
            return False
        load.drop_buffers()
        reply.manifest = Manifest(segment=number)
        return True


def _cannot_map(size: int, error: Exception) -> ExecutorError:
    return ExecutorError(
        f"A worker process cannot map {size} bytes of shared memory: {error}. "
        "Raise its memory limit, or pass max_shared_memory=0 to its executor."
    )
