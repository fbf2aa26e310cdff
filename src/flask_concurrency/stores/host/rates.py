"""Read and write what rates remember of a key. Knows records; knows neither locks nor deciding.

The caller holds the lock of the shard for every call.
"""

from __future__ import annotations

import mmap
import struct
from math import inf
from typing import Any, Final

from flask_concurrency.policies.moving_window import Log
from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.addresses import Address
from flask_concurrency.stores.host.blocks import IN_BLOCKS, NAMES, Blocks, Extent
from flask_concurrency.stores.host.codec import LogPlace, pack_log, unpack_log
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.layout import (
    CELL,
    DIGEST,
    DIGESTS,
    KIND_AT,
    NO_DIGEST,
    RECORD_AT,
    WAYS,
    WORD,
    index_of,
)

_CELL_SIZE: Final = CELL.size
_EXPIRIES: Final = struct.Struct("@" + "I4x16xd16xd" * WAYS)
"""Of all cells of a bucket: the selector, and the expiries of both records."""

_read_word = WORD.unpack_from
_write_word = WORD.pack_into
_new = tuple.__new__  # what a named tuple calls, without unpacking and packing its fields


class Rates:
    """The buckets of one mapped file.

    :param memory: The mapped file.
    :param blocks: Room for what does not fit a cell.
    :param evictions: Told of each key that must be forgotten to make room.
    """

    __slots__ = ("_blocks", "_evictions", "_memory")

    def __init__(self, memory: mmap.mmap, blocks: Blocks, evictions: Evictions) -> None:
        self._memory = memory
        self._blocks = blocks
        self._evictions = evictions

    def read(self, address: Address) -> tuple[int, Any]:
        """Find a key's cell and what it remembers.

        :returns: Where the cell is and the state in it; ``0`` and ``None`` for a key not there.
        """
        _, shard, start, digest, codec = address
        assert codec is not None
        memory = self._memory
        way = index_of(memory, digest, start, start + DIGESTS)
        if way < 0:
            return 0, None
        cell = start + DIGESTS + way * _CELL_SIZE
        (selector,) = _read_word(memory, cell)
        if not selector:  # whoever wrote the digest died before the first record counted
            return 0, None
        state = _new(codec.state, codec.unpack(memory, cell + RECORD_AT[selector]))
        if codec.in_blocks:
            return cell, unpack_log(self._blocks.read(shard, Extent(*state[1:])))
        return cell, state

    def store_log(self, shard: int, log: Log, now: float, unnamed: list[Extent]) -> LogPlace:
        """Put a log where no record points yet, so that no count changes.

        :param unnamed: Extents that this request took already; see :meth:`Blocks.write`.
        :raises StoreError: There is no room for it.
        """
        extent = self._blocks.write(shard, pack_log(log), now, unnamed)
        return LogPlace(log[-1][0] if log else now, *extent)

    def write(self, cell: int, address: Address, policy: Policy, state: Any) -> None:
        """Replace what a cell remembers.

        :param state: The policy's state; for a log, where it is.
        """
        codec = address.codec
        assert codec is not None
        memory = self._memory
        (selector,) = _read_word(memory, cell)
        idle = 2 if selector == 1 else 1
        codec.pack(memory, cell + RECORD_AT[idle], *state, codec.expires_at(state, policy))
        # If the process dies here, the record that counts is still the old one.
        _write_word(memory, cell, idle)
        # If the process dies here, the new record counts.
        if codec.in_blocks and selector:
            self._free(address.shard, cell, selector)

    def insert(self, address: Address, policy: Policy, state: Any, now: float) -> None:
        """Remember a key that is not there, in place of the least needed one if need be.

        :param state: The policy's state; for a log, where it is.
        """
        _, shard, start, digest, codec = address
        assert codec is not None
        memory = self._memory
        way = self._room(address, now)
        cell = start + DIGESTS + way * CELL.size
        selector, kind, _, _ = CELL.unpack_from(memory, cell)
        _write_word(memory, cell, 0)
        # If the process dies here, the cell is free; its old key is forgotten as it had to be.
        if selector and kind == IN_BLOCKS:
            self._free(shard, cell, selector)
        at = start + way * DIGEST
        memory[at : at + DIGEST] = digest
        # If the process dies here, or halfway through the digest, the cell is still free.
        codec.pack(memory, cell + RECORD_AT[1], *state, codec.expires_at(state, policy))
        _write_word(memory, cell + KIND_AT, IN_BLOCKS if codec.in_blocks else 0)
        # If the process dies here, the digest is found, but no record counts yet.
        _write_word(memory, cell, 1)
        # If the process dies here, the key is remembered.

    def remove(self, cell: int, address: Address) -> None:
        """Forget what a cell remembers."""
        (selector,) = _read_word(self._memory, cell)
        _write_word(self._memory, cell, 0)
        # If the process dies here, the key is forgotten; its blocks are found unused later.
        if address.codec is not None and address.codec.in_blocks and selector:
            self._free(address.shard, cell, selector)

    def _room(self, address: Address, now: float) -> int:
        """Which cell of the bucket to use: a free one, else the one that expires first."""
        start = address.start
        for digest in (address.digest, NO_DIGEST):
            way = index_of(self._memory, digest, start, start + DIGESTS)
            if way >= 0:
                return way
        fields = _EXPIRIES.unpack_from(self._memory, start + DIGESTS)
        expiries = [fields[at + fields[at]] if fields[at] else -inf for at in range(0, 3 * WAYS, 3)]
        first = min(expiries)
        if first > now:
            self._evictions.add(address.shard)
        return expiries.index(first)

    def _free(self, shard: int, cell: int, selector: int) -> None:
        record = cell + RECORD_AT[selector]
        self._blocks.free(shard, Extent(*NAMES.unpack_from(self._memory, record)))
