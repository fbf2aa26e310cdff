"""Read and write what rates remember of a key. Knows records; knows neither locks nor deciding.

The caller holds the lock of the shard for every call.
"""

from __future__ import annotations

import mmap
import struct
from math import inf
from typing import Any, Final

from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.addresses import Address
from flask_concurrency.stores.host.blocks import IN_BLOCKS, NAMES, Blocks, Extent
from flask_concurrency.stores.host.codec import (
    COUNT_AT,
    Codec,
    LogPlace,
    pack_log,
    unpack_log,
)
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

_EXPIRIES: Final = struct.Struct("@" + "I4x16xd16xd" * WAYS)
"""Of all cells of a bucket: the selector, and the expiries of both records."""

_read_word = WORD.unpack_from
_write_word = WORD.pack_into


class RateCell:
    """The cell of one key, as one process finds it.

    It may move to another way of its bucket; where it was last is only a hint.

    :param address: Where the key is counted.
    :param codec: How its states are written.
    :param memory: The mapped file.
    :param blocks: Room for what does not fit a cell.
    :param evictions: Told of each key that must be forgotten to make room.
    :ivar policy: The class of the policy that counts there.
    :ivar shard: The part of the file to lock.
    :ivar in_blocks: Whether its state does not fit the cell.
    """

    __slots__ = (
        "_blocks",
        "_cell",
        "_codec",
        "_digest",
        "_digest_at",
        "_evictions",
        "_memory",
        "_record",
        "_same",
        "_start",
        "_unpack",
        "in_blocks",
        "policy",
        "shard",
    )

    def __init__(
        self,
        address: Address,
        codec: Codec,
        memory: mmap.mmap,
        blocks: Blocks,
        evictions: Evictions,
    ) -> None:
        self.policy, self.shard, self._start, self._digest = address
        self.in_blocks = codec.in_blocks
        self._codec = codec
        self._unpack, self._same = codec.unpack, codec.same
        self._memory = memory
        self._blocks = blocks
        self._evictions = evictions
        self._record = 0
        self._hint(0)

    def read(self) -> Any:
        """What the cell remembers; ``None`` for a key that is not there."""
        memory = self._memory
        at = self._digest_at
        if memory[at : at + DIGEST] != self._digest and not self._found():
            return None
        cell = self._cell
        (selector,) = _read_word(memory, cell)
        if not selector:  # the process that wrote the digest died before its record counted
            return None
        self._record = record = cell + RECORD_AT[selector]
        state = self._unpack(memory, record)
        if self.in_blocks:
            return unpack_log(self._blocks.read(self.shard, Extent(*state[1:])))
        return state

    def count(self, old: Any, state: Any, policy: Policy) -> None:
        """Replace what the cell remembers.

        :param old: What :meth:`read` gave just before.
        """
        same = self._same
        if same is None or state[0] != old[0] or state[same] != old[same]:
            self.write(state, policy)
            return
        # Most requests only add to the count of a window that has begun already.
        _write_word(self._memory, self._record + COUNT_AT, state[1])
        # If the process dies before this, the request is not counted; after it, it is.

    def write(self, state: Any, policy: Policy) -> None:
        """Replace what the cell remembers, all of it.

        :param state: The policy's state; for a log, what :meth:`prepare` gave.
        """
        memory = self._memory
        cell = self._cell
        codec = self._codec
        (selector,) = _read_word(memory, cell)
        idle = 2 if selector == 1 else 1
        codec.pack(memory, cell + RECORD_AT[idle], *state, codec.expires_at(state, policy))
        # If the process dies here, the record that counts is still the old one.
        _write_word(memory, cell, idle)
        # If the process dies here, the new record counts.
        if self.in_blocks and selector:
            self._free(selector)

    def prepare(self, state: Any, now: float, unnamed: list[Extent]) -> Any:
        """Put a log where no record points yet, so that no count changes.

        :param unnamed: Extents that this request took already; see :meth:`Blocks.write`.
        :returns: What to write into the cell.
        :raises StoreError: There is no room for it.
        """
        if not self.in_blocks:
            return state
        extent = self._blocks.write(self.shard, pack_log(state), now, unnamed)
        return LogPlace(state[-1][0] if state else now, *extent)

    def insert(self, state: Any, policy: Policy, now: float) -> None:
        """Remember a key that is not there, in place of the least needed one if need be.

        :param state: The policy's state; for a log, what :meth:`prepare` gave.
        """
        memory = self._memory
        codec = self._codec
        self._hint(self._room(now))
        cell = self._cell
        selector, kind, _, _ = CELL.unpack_from(memory, cell)
        _write_word(memory, cell, 0)
        # If the process dies here, the cell is free; its old key is forgotten as it had to be.
        if selector and kind == IN_BLOCKS:
            self._free(selector)
        memory[self._digest_at : self._digest_at + DIGEST] = self._digest
        # If the process dies here, or halfway through the digest, the cell is still free.
        codec.pack(memory, cell + RECORD_AT[1], *state, codec.expires_at(state, policy))
        _write_word(memory, cell + KIND_AT, IN_BLOCKS if self.in_blocks else 0)
        # If the process dies here, the digest is found, but no record counts yet.
        _write_word(memory, cell, 1)
        # If the process dies here, the key is remembered.

    def remove(self) -> None:
        """Forget what the cell remembers; :meth:`read` has just found it."""
        (selector,) = _read_word(self._memory, self._cell)
        _write_word(self._memory, self._cell, 0)
        # If the process dies here, the key is forgotten; its blocks are found unused later.
        if self.in_blocks and selector:
            self._free(selector)

    def _hint(self, way: int) -> None:
        self._digest_at = self._start + way * DIGEST
        self._cell = self._start + DIGESTS + way * CELL.size

    def _found(self) -> bool:
        way = index_of(self._memory, self._digest, self._start, self._start + DIGESTS)
        if way < 0:
            return False
        self._hint(way)
        return True

    def _room(self, now: float) -> int:
        """Which way of the bucket to use: a free one, else the one that expires first."""
        start = self._start
        for digest in (self._digest, NO_DIGEST):
            way = index_of(self._memory, digest, start, start + DIGESTS)
            if way >= 0:
                return way
        fields = _EXPIRIES.unpack_from(self._memory, start + DIGESTS)
        expiries = [fields[at + fields[at]] if fields[at] else -inf for at in range(0, 3 * WAYS, 3)]
        first = min(expiries)
        if first > now:
            self._evictions.add(self.shard)
        return expiries.index(first)

    def _free(self, selector: int) -> None:
        """Let the blocks go that a record of the cell named until now."""
        record = self._cell + RECORD_AT[selector]
        self._blocks.free(self.shard, Extent(*NAMES.unpack_from(self._memory, record)))
