"""Find the cell of a key whose rate is counted, and make room for it. Knows no content of a cell.

Makes room fairly: the limiter that has most keys in a bucket gives one up, the one that has most
of its quota left. So a flood of keys of one limit displaces its own keys and not those of another,
such as a login's, and a key that is refused is the last to be forgotten.

The caller holds the lock of the shard for every call.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from typing import Any, Final

from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.addresses import OWNER, Address
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.header import DamagedFile
from flask_concurrency.stores.host.layout import (
    CELL,
    DIGEST,
    DIGESTS,
    EXPIRY,
    EXPIRY_AT,
    HEAD,
    HEADS,
    NO_DIGEST,
    OWNER_AT,
    WAYS,
    WORD,
    index_of,
)

_HEADS: Final = struct.Struct(HEADS.format + HEADS.format.lstrip("@") * (WAYS - 1))
CLOCK_SKEW: Final = 1.0
"""Seconds by which another CPU's clock may be ahead; an instant further ahead is damage."""

MOST_SPENT: Final = 255
"""How much of a quota is spent, in the lowest byte of a cell's word that says whose it is."""

_read_word = WORD.unpack_from
_write_word = WORD.pack_into
_write_head = HEAD.pack_into


class RateCell:
    """The cell of one key, as one process finds it.

    It may move to another way of its bucket; where it was last is only a hint.

    :param address: Where the key is counted.
    :param memory: The mapped file.
    :param evictions: Counts each key that must be forgotten to make room.
    :ivar policy: The class of the policy that counts there.
    :ivar shard: The part of the file to lock.
    """

    __slots__ = (
        "_cell",
        "_digest",
        "_evictions",
        "_memory",
        "_owner",
        "_start",
        "_where",
        "_word",
        "policy",
        "shard",
    )

    def __init__(self, address: Address, memory: mmap.mmap, evictions: Evictions) -> None:
        self.policy, self.shard, self._start, self._digest, self._owner = address
        self._memory = memory
        self._evictions = evictions
        self._word = 0
        self._hint(0)

    def read(self, now: float) -> Any:
        """What the cell remembers; ``None`` for a key that is not there.

        :param now: Later than all that was ever written, but for the skew of clocks.
        :raises DamagedFile: No process of ours wrote what is there.
        """
        raise NotImplementedError

    def count(self, old: Any, state: Any, policy: Policy) -> None:
        """Replace what the cell remembers by what came of one request.

        :param old: What :meth:`read` gave just before.
        """
        raise NotImplementedError

    def refund(self, old: Any, state: Any, policy: Policy) -> None:
        """Replace what the cell remembers by what is left after units were given back.

        :param old: What :meth:`read` gave just before.
        """
        raise NotImplementedError

    def _fill(self, state: Any, policy: Policy) -> int:
        """Write the first content of an empty cell; returns the word that makes it count."""
        raise NotImplementedError

    def _ends(self, state: Any, policy: Any) -> tuple[int, float]:
        """How much is spent, up to ``MOST_SPENT``, and when the state may be forgotten."""
        raise NotImplementedError

    def insert(self, state: Any, policy: Policy, now: float) -> None:
        """Remember a key that is not there, in place of another one if need be."""
        memory = self._memory
        self._hint(self._room(now))
        cell = self._cell
        _write_word(memory, cell, 0)
        # If the process dies here, the cell is free; its old key is forgotten as it had to be.
        memory[self._where] = self._digest
        # If the process dies here, or halfway through the digest, the cell is still free.
        word = self._fill(state, policy)
        spent, expires_at = self._ends(state, policy)
        _write_word(memory, cell + OWNER_AT, self._owner | spent)
        EXPIRY.pack_into(memory, cell + EXPIRY_AT, expires_at)
        # If the process dies here, the digest is found, but no content counts yet.
        _write_word(memory, cell, word)
        # If the process dies here, the key is remembered.

    def remove(self) -> None:
        """Forget what the cell remembers; :meth:`read` has just found it."""
        _write_word(self._memory, self._cell, 0)

    def _commit(self, word: int, state: Any, policy: Policy) -> None:
        """Let content count that was written; the rest of the head says how needed it is."""
        spent, expires_at = self._ends(state, policy)
        _write_head(self._memory, self._cell, word, self._owner | spent, expires_at)

    def _here(self) -> bool:
        """Find the key, and which of its cell's content counts."""
        if self._memory[self._where] != self._digest and not self._found():
            return False
        # 0 where the process that wrote the digest died before its content counted.
        (self._word,) = _read_word(self._memory, self._cell)
        return self._word != 0

    def _hint(self, way: int) -> None:
        at = self._start + way * DIGEST
        self._where = slice(at, at + DIGEST)
        self._cell = self._start + DIGESTS + way * CELL

    def _found(self) -> bool:
        way = index_of(self._memory, self._digest, self._start, self._start + DIGESTS)
        if way < 0:
            return False
        self._hint(way)
        return True

    def _room(self, now: float) -> int:
        """Which way of the bucket to use: a free one, an expired one, else the least needed one."""
        start = self._start
        for digest in (self._digest, NO_DIGEST):
            way = index_of(self._memory, digest, start, start + DIGESTS)
            if way >= 0:
                return way
        fields = _HEADS.unpack_from(self._memory, start + DIGESTS)
        words, owners, expiries = fields[::3], fields[1::3], fields[2::3]
        if 0 in words:
            return words.index(0)
        first = min(expiries)
        if first <= now:
            return expiries.index(first)
        self._evictions.add(self.shard)
        keys = Counter(word & OWNER for word in owners)
        keys[self._owner] += 1  # the new key
        most = max(keys.values())
        return min(
            (word & MOST_SPENT, expiries[way], way)
            for way, word in enumerate(owners)
            if keys[word & OWNER] == most
        )[2]


def damaged(what: str) -> DamagedFile:
    """The error of content that no process of ours wrote."""
    return DamagedFile(f"{what} in it was written by none of its processes")
