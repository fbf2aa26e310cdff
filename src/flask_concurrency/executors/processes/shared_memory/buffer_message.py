"""Decide how a pickle with large buffers is written into a message, and read from it.

Knows the form, and not whose memory it is. A message is a manifest, the pickle's stream, and the
buffers: these either follow in the message or lie in a segment that both sides map.
"""

from __future__ import annotations

import pickle
import struct
from typing import Final, NamedTuple

from flask_concurrency.executors.processes.shared_memory.buffers import Opened, Pickled
from flask_concurrency.executors.processes.shared_memory.layout import (
    Place,
    aligned,
    arrange,
    extent,
)
from flask_concurrency.executors.processes.wire import Received

SHARED: Final = 1 << 20
"""Bytes of buffers from which on a segment is worth its while. A stream of that size is treated
as one of the buffers, the first."""


class Known(NamedTuple):
    """A segment of the owner's, announced to a worker together with its descriptor.

    :ivar written: Bytes from the start that hold memory already.
    """

    number: int
    size: int
    written: int


FRESH: Final = 0
"""Number of a segment that has none yet: a worker made it, and its descriptor came along."""

_LENGTH: Final = struct.Struct("<I")


class SharedPart(NamedTuple):
    """A buffer that lies in a shared array.

    :ivar position: Which of the pickle's buffers it is.
    :ivar array: Which of the shared arrays that came along.
    """

    position: int
    array: int
    at: int
    length: int


class Manifest(NamedTuple):
    """What a message says of itself.

    :ivar places: Where the buffers lie: in the segment, or behind the stream.
    :ivar with_stream: The first of them is the pickle's stream.
    :ivar segment: Number of the segment that holds them; ``None`` if they are in the message.
    :ivar known: Of a call: the segments whose descriptors came along, in the same order. One that
        does not hold the call's buffers is there for the result's.
    :ivar numbers: Of a call: the segments that the owner still has.
    :ivar shared_sizes: Of a call: the bytes of the shared arrays whose descriptors came along,
        behind those of ``known``.
    :ivar shared: Of a call: the buffers that lie in them.
    :ivar clean: Of a reply: nothing in the worker refers to the call's segment any more.
    """

    places: tuple[Place, ...] = ()
    with_stream: bool = False
    segment: int | None = None
    known: tuple[Known, ...] = ()
    numbers: tuple[int, ...] = ()
    shared_sizes: tuple[int, ...] = ()
    shared: tuple[SharedPart, ...] = ()
    clean: bool = True


class Load:
    """A pickle that is to be sent: what goes into the message, and what need not."""

    __slots__ = ("buffers", "places", "stream", "with_stream")

    def __init__(self, pickled: Pickled) -> None:
        self.stream, self.buffers = pickled
        self.with_stream = len(self.stream) >= SHARED
        if self.with_stream:
            self.buffers = [memoryview(self.stream), *self.buffers]
            self.stream = b""
        self.places = tuple(arrange(map(len, self.buffers)))

    @property
    def size(self) -> int:
        """Bytes of the buffers, with the gaps between them."""
        return extent(self.places)

    def copy_buffers(self) -> None:
        """Take copies of the buffers in the place of the originals."""
        self.buffers = [memoryview(bytes(buffer)) for buffer in self.buffers]

    def drop_buffers(self) -> None:
        """Forget the buffers: they are in a segment now."""
        self.buffers = []

    def write(self, manifest: Manifest) -> list[bytes | memoryview]:
        """Return the message in parts; the buffers are in it if no segment holds them."""
        manifest = manifest._replace(places=self.places, with_stream=self.with_stream)
        text = pickle.dumps(manifest, 5)
        head = _LENGTH.pack(len(text)) + text + self.stream
        if manifest.segment is not None or not self.buffers:
            return [head]
        # Aligned as in a segment: the buffers will be used where they arrive.
        parts: list[bytes | memoryview] = [head.ljust(aligned(len(head)), b"\0")]
        for buffer, place in zip(self.buffers, self.places, strict=True):
            parts += [buffer, bytes(aligned(place.length) - place.length)]
        return parts


def read(received: Received) -> tuple[Manifest, memoryview]:
    """Read what a message says of itself, and return the rest of it as well."""
    whole = memoryview(received)
    (length,) = _LENGTH.unpack_from(whole)
    start = _LENGTH.size + length
    manifest: Manifest = pickle.loads(whole[_LENGTH.size : start])
    return manifest, whole[start:]


def open_pickle(manifest: Manifest, rest: memoryview, segment: memoryview | None) -> Opened:
    """Return the pickle in a message. Its buffers are views; nothing is copied.

    :param rest: What follows the manifest.
    :param segment: The segment that holds the buffers, if one does.
    """
    # In the message they are the end, and what lies before them is padded to align them.
    where = rest[len(rest) - aligned(extent(manifest.places)) :] if segment is None else segment
    buffers = [where[place.at : place.end] for place in manifest.places]
    if manifest.with_stream:
        return Opened(buffers[0], buffers[1:])
    return Opened(rest, buffers)
