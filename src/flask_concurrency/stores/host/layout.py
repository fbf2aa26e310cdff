"""Decide where each byte of the mapped file is. Knows no lock and no path.

.. code-block:: text

    header         one page, written once (header.py), and one word that changes:
      lines_used   lines that were ever in use at the same time
    lines          one a process: its pid, for people who look
    evictions      one counter a shard: keys forgotten before their time
    rates          by shard, by bucket: 16 digests, then their 16 cells
    in flight      by shard: all digests, then a row for each, with one word a line

Every change becomes visible by one store of one aligned word: a process that dies before it
changed nothing, one that dies after it changed everything. No journal and no repair is needed.
``struct`` writes such a word in one piece in native mode only, so these formats begin with ``@``.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Final

from flask_concurrency.policies.sliding_window import MOST_RUNS

PAGE: Final = 4096

WORD: Final = struct.Struct("@I")
COUNTER: Final = struct.Struct("@Q")
LINE: Final = struct.Struct("@I4x")
"""A process: its pid."""

DIGEST: Final = 16
"""Bytes of a key's digest."""
NO_DIGEST: Final = bytes(DIGEST)
"""What stands where no key does."""

WAYS: Final = 16
"""Cells of a bucket: a key may stand in any of them."""

HEAD: Final = struct.Struct("@IId")
"""Of a cell: which of its content counts (0 for none), whose it is, and when it may be forgotten.

Packed in this order, so that the content counts before the rest is written."""
OWNER_AT: Final = WORD.size
EXPIRY: Final = struct.Struct("@d")
EXPIRY_AT: Final = 2 * WORD.size
CONTENT_AT: Final = HEAD.size

SLOT: Final = struct.Struct("@dQ")
SLOTS: Final = 2 + MOST_RUNS
"""Of a window: its runs, what stands before them, and a slot to write the next run into."""

CELL: Final = HEAD.size + SLOTS * SLOT.size
HEADS: Final = struct.Struct(f"@IId{CELL - HEAD.size}x")
"""A cell whose content is not looked at."""

DIGESTS: Final = WAYS * DIGEST
"""Bytes of a bucket's digests, which its cells follow."""
BUCKET: Final = DIGESTS + WAYS * CELL

LINES_USED_AT: Final = 1024
LINES_AT: Final = PAGE

SHARDS: Final = 64
KEYS_PER_ROW: Final = 16
"""Keys whose rates are remembered, for one that can have requests inside."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How large each part of a file is.

    :ivar shards: Parts that are locked by themselves.
    :ivar buckets: Buckets of a shard.
    :ivar rows: Keys of a shard that can have requests inside at the same time.
    :ivar lines: Processes that can have the file open at the same time.
    """

    shards: int
    buckets: int
    rows: int
    lines: int

    @classmethod
    def holding(cls, max_keys: int, max_processes: int) -> Geometry:
        """The geometry for so many keys, rounded up to whole buckets."""
        shards = min(SHARDS, -(-max_keys // WAYS))
        buckets = -(-max_keys // (shards * WAYS))
        rows = max(WAYS, buckets * WAYS // KEYS_PER_ROW)
        return cls(shards, buckets, rows, max_processes)

    @property
    def capacity(self) -> int:
        """Keys whose rates are remembered at most."""
        return self.shards * self.buckets * WAYS

    @property
    def in_flight_capacity(self) -> int:
        """Keys that can have requests inside at the same time."""
        return self.shards * self.rows

    @property
    def row_size(self) -> int:
        """Bytes of one row: one word a line."""
        return self.lines * WORD.size

    @property
    def in_flight_shard(self) -> int:
        """Bytes of a shard's digests and rows."""
        return self.rows * (DIGEST + self.row_size)

    @property
    def evictions_at(self) -> int:
        """Where the first shard's counter is."""
        return LINES_AT + self.lines * LINE.size

    @property
    def rates_at(self) -> int:
        """Where the first shard's first bucket is."""
        return self.evictions_at + self.shards * COUNTER.size

    @property
    def in_flight_at(self) -> int:
        """Where the first shard's first digest of a key with requests inside is."""
        return self.rates_at + self.shards * self.buckets * BUCKET

    @property
    def size(self) -> int:
        """Bytes of the whole file, full pages."""
        end = self.in_flight_at + self.shards * self.in_flight_shard
        return -(-end // PAGE) * PAGE


def index_of(memory: mmap.mmap, digest: bytes, start: int, end: int) -> int:
    """Which of the digests between ``start`` and ``end`` is ``digest``; -1 for none."""
    at = memory.find(digest, start, end)
    # The bytes may also occur across two digests, as zeros easily do.
    while at >= 0 and (at - start) % DIGEST:
        at = memory.find(digest, at + 1, end)
    return (at - start) // DIGEST if at >= 0 else -1
