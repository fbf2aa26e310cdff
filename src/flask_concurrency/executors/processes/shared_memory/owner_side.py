"""Decide how a call's buffers leave the owner, and whose memory a reply's buffers become.

Knows the pool and the form of messages; no socket, no worker, no future.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from flask_concurrency.executors.processes.shared_memory.buffer_message import (
    FRESH,
    SHARED,
    Known,
    Load,
    Manifest,
    SharedPart,
    open_pickle,
    read,
)
from flask_concurrency.executors.processes.shared_memory.buffers import Opened, Pickled
from flask_concurrency.executors.processes.shared_memory.layout import extent
from flask_concurrency.executors.processes.shared_memory.segment import Descriptor, Segment
from flask_concurrency.executors.processes.shared_memory.segment_pool import Loan, SegmentPool
from flask_concurrency.executors.processes.shared_memory.shared_arrays import Region, SharedArrays
from flask_concurrency.executors.processes.wire import MAX_SHARED, BufferMessage, Received


class CallMessage(BufferMessage):
    """A call that takes shared memory along: for its arguments, or for the result it should have.

    Its buffers are copied when it is made, so that later changes do not reach the worker: into a
    segment if there is room, else beside it until it is sent.
    """

    _load: Load
    _shared: tuple[SharedPart, ...]
    _regions: tuple[Region, ...]
    _pool: SegmentPool
    _expected: int
    _arguments: Loan | None
    _result: Loan | None

    @classmethod
    def pack(cls, pickled: Pickled, pool: SegmentPool, expected: int = 0) -> CallMessage:
        """Copy a call's buffers.

        :param expected: Bytes that the result may have.
        """
        message = cls()
        stream, buffers = pickled
        message._regions = message._shared = ()
        if pool.shared:
            buffers = message._take_shared(buffers, pool.shared)
        message._load = Load((stream, buffers))
        message._pool = pool
        message._expected = expected
        message._arguments = message._result = None
        message._find_segment()
        if message._arguments is None:
            message._load.copy_buffers()
        return message

    def parts(self) -> tuple[Sequence[bytes | memoryview], Sequence[int]]:
        """Return what is sent now; a second time if the first worker never read it."""
        if self._arguments is None:
            self._find_segment()
        if self._result is None and self._expected:
            self._result = self._pool.result_segment(self._expected)
        known, descriptors = [], []
        for loan in self._loans():
            loan.sent = True
            segment = loan.segment
            known.append(Known(segment.number, segment.size, segment.written))
            descriptors.append(segment.descriptor.number)
        descriptors += [region.descriptor.number for region in self._regions]
        manifest = Manifest(
            segment=None if self._arguments is None else self._arguments.segment.number,
            known=tuple(known),
            numbers=self._pool.numbers() if known else (),
            shared_sizes=tuple(region.size for region in self._regions),
            shared=self._shared,
        )
        return self._load.write(manifest), descriptors

    def settle(self, manifest: Manifest) -> Segment | None:
        """End the loans as a reply says, and return the segment that holds the result, if any.

        May be repeated: an interrupted thread may have come as far as here.
        """
        found = None
        for loan in self._loans():
            if manifest.segment == loan.segment.number:
                found = loan.take()
            else:
                loan.end(reusable=loan is self._result or manifest.clean)
        return found

    def _loans(self) -> list[Loan]:
        return [loan for loan in (self._arguments, self._result) if loan is not None]

    def _take_shared(self, buffers: Sequence[memoryview], shared: SharedArrays) -> list[memoryview]:
        """Note which buffers lie in shared arrays, and return the others."""
        regions: list[Region] = []
        others: list[memoryview] = []
        parts: list[SharedPart] = []
        for position, buffer in enumerate(buffers):
            found = shared.find(buffer)
            if found is None or (found[0] not in regions and len(regions) == MAX_SHARED):
                others.append(buffer)
                continue
            region, at = found
            if region not in regions:
                regions.append(region)
            parts.append(SharedPart(position, regions.index(region), at, buffer.nbytes))
        self._regions, self._shared = tuple(regions), tuple(parts)
        return others

    def _find_segment(self) -> None:
        if self._load.size >= SHARED:
            self._arguments = self._pool.lend(self._load.buffers, self._load.places)
            if self._arguments is not None:
                self._load.drop_buffers()


def open_reply(received: Received, call: bytes, function: str, pool: SegmentPool) -> Opened:
    """Return the pickle in a reply, and settle what becomes of the call's segments.

    :param call: The payload that is answered.
    :param function: Its name; the next call of it is prepared for a result like this.
    :returns: Buffers are views of memory that no other process writes to while they exist.
    """
    manifest, rest = read(received)
    segment = call.settle(manifest) if isinstance(call, CallMessage) else None
    length = extent(manifest.places)
    pool.expect(function, length if length >= SHARED else 0)
    if manifest.segment is None:
        return open_pickle(manifest, rest, None)
    if manifest.segment == FRESH:
        (descriptor,) = received.adopt_descriptors(1, Descriptor)
        segment = pool.adopt(descriptor, length)
        if segment is None:
            return open_pickle(manifest, rest, _copy(descriptor, length))
    assert segment is not None, f"segment {manifest.segment} was not this call's"
    segment.written = max(segment.written, length)
    exported = pool.export(segment, length)
    if exported is None:
        exported = _copy(segment.descriptor, length)
        pool.returned.append((segment, True))
    return open_pickle(manifest, rest, exported)


def _copy(descriptor: Descriptor, length: int) -> memoryview:
    content = memoryview(bytearray(length))
    done = 0
    while done < length:
        done += os.preadv(descriptor.number, [content[done:]], done)
    return content
