"""Find room for what does not fit a cell. Knows blocks and who names them, not what is in them.

Blocks are marked as taken before a record names them, and as free after none does any more.
Whoever dies in between leaves blocks marked that nobody uses; they are found when none is left.
The caller holds the lock of the shard for every call.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final, NamedTuple

from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.layout import (
    BLOCK,
    BUCKET,
    CELL,
    DIGESTS,
    EXPIRY,
    EXPIRY_AT,
    WAYS,
    WORD,
    Geometry,
)
from flask_concurrency.vocabulary.errors import StoreError

IN_BLOCKS: Final = 1
"""The kind of a cell whose records name blocks; that of all others is 0."""

NAMES: Final = struct.Struct("@8xII8x")
"""Of a record that names blocks: the number of the first, and the bytes in use."""

FREED_AT_ONCE: Final = 8
"""Where blocks run out one in so many is freed, so that it does not happen again at once."""


class Extent(NamedTuple):
    """Consecutive blocks of one shard.

    :ivar first: The number of the first block.
    :ivar size: Bytes in use.
    """

    first: int
    size: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.size // BLOCK)


class _User(NamedTuple):
    expires_at: float
    cell: int
    extent: Extent


class Blocks:
    """The blocks of one mapped file.

    :param memory: The mapped file.
    :param geometry: Where things are in it.
    :param evictions: Told of each key that must be forgotten to make room.
    """

    __slots__ = ("_evictions", "_geometry", "_memory")

    def __init__(self, memory: mmap.mmap, geometry: Geometry, evictions: Evictions) -> None:
        self._memory = memory
        self._geometry = geometry
        self._evictions = evictions

    def read(self, shard: int, extent: Extent) -> bytes:
        """What is in an extent."""
        at = self._at(shard, extent.first)
        return self._memory[at : at + extent.size]

    def write(self, shard: int, content: bytes, now: float, unnamed: list[Extent]) -> Extent:
        """Put bytes where no record points yet.

        :param unnamed: Extents that this request took already and that no record names yet; the
            new one is added.
        :raises StoreError: There is no room for so many bytes.
        """
        blocks = Extent(0, len(content)).blocks
        first = self._find(shard, blocks)
        if first < 0:
            self._clear_up(shard, blocks, now, unnamed)
            first = self._find(shard, blocks)
        if first < 0:
            raise StoreError(
                f"The exact log of one key needs {len(content):,} bytes, and the host store has "
                f"{self._geometry.blocks * BLOCK:,} for it and others. Choose the algorithm "
                "'sliding-window' or 'token-bucket', or raise max_keys."
            )
        extent = Extent(first, len(content))
        self._mark(shard, extent, b"\1")
        # If the process dies here, nobody uses these blocks until they are cleared up.
        unnamed.append(extent)
        at = self._at(shard, first)
        self._memory[at : at + len(content)] = content
        return extent

    def free(self, shard: int, extent: Extent) -> None:
        """Let blocks go that no record names any more."""
        self._mark(shard, extent, b"\0")

    def _at(self, shard: int, block: int) -> int:
        return self._geometry.blocks_at + (shard * self._geometry.blocks + block) * BLOCK

    def _map_at(self, shard: int) -> int:
        return self._geometry.maps_at + shard * self._geometry.blocks

    def _mark(self, shard: int, extent: Extent, mark: bytes) -> None:
        at = self._map_at(shard) + extent.first
        self._memory[at : at + extent.blocks] = mark * extent.blocks

    def _find(self, shard: int, blocks: int) -> int:
        start = self._map_at(shard)
        at = self._memory.find(bytes(blocks), start, start + self._geometry.blocks)
        return at - start if at >= 0 else -1

    def _clear_up(self, shard: int, blocks: int, now: float, unnamed: list[Extent]) -> None:
        """Free what nobody uses, then what is needed least, until there is room."""
        if self._marks(unnamed).find(bytes(blocks)) < 0:
            return  # to forget everybody else would not help
        users = sorted(self._users(shard, now), reverse=True)
        marks = self._marks([*unnamed, *(user.extent for user in users)])
        at = self._map_at(shard)
        self._memory[at : at + len(marks)] = bytes(marks)
        # If the process dies halfway, a part of the map is as it was: it marks all that is taken,
        # and perhaps more.
        if self._find(shard, blocks) >= 0:
            return
        enough = self._geometry.blocks // FREED_AT_ONCE
        freed = 0
        while users and (freed < enough or self._find(shard, blocks) < 0):
            _, cell, extent = users.pop()
            WORD.pack_into(self._memory, cell, 0)
            # If the process dies here, the key is forgotten and its blocks are still marked.
            self.free(shard, extent)
            self._evictions.add(shard)
            freed += extent.blocks

    def _marks(self, taken: list[Extent]) -> bytearray:
        """A map with nothing but some extents on it."""
        marks = bytearray(self._geometry.blocks)
        for extent in taken:
            marks[extent.first : extent.first + extent.blocks] = b"\1" * extent.blocks
        return marks

    def _users(self, shard: int, now: float) -> list[_User]:
        """The keys that name blocks; those that may be forgotten are."""
        shard_size = self._geometry.buckets * BUCKET
        start = self._geometry.rates_at + shard * shard_size
        users = []
        for bucket in range(start, start + shard_size, BUCKET):
            cells = self._memory[bucket + DIGESTS : bucket + DIGESTS + WAYS * CELL.size]
            for way, (selector, kind, *records) in enumerate(CELL.iter_unpack(cells)):
                if not selector or kind != IN_BLOCKS:
                    continue
                cell = bucket + DIGESTS + way * CELL.size
                record = records[selector - 1]
                (expires_at,) = EXPIRY.unpack_from(record, EXPIRY_AT)
                if expires_at > now:
                    users.append(_User(expires_at, cell, Extent(*NAMES.unpack(record))))
                else:
                    WORD.pack_into(self._memory, cell, 0)
        return users
