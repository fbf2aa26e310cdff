"""Forget the rates of all keys of a shard. Knows where their cells are, not what they count.

The caller holds the lock of the shard.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection

from flask_concurrency.stores.host.addresses import OWNER
from flask_concurrency.stores.host.layout import BUCKET, CELL, DIGESTS, HEADS, WORD, Geometry


def clear_shard(
    memory: mmap.mmap,
    geometry: Geometry,
    shard: int,
    now: float,
    owners: Collection[int] | None = None,
) -> int:
    """Forget the rates of all keys of a shard.

    :param memory: The mapped file.
    :param geometry: Where things are in it.
    :param now: Keys that expired by then do not count any more.
    :param owners: Forget only keys of these limiters; ``None`` for all.
    :returns: How many keys counted.
    """
    size = geometry.buckets * BUCKET
    start = geometry.rates_at + shard * size
    keys = 0
    for bucket in range(start, start + size, BUCKET):
        cells = memory[bucket + DIGESTS : bucket + BUCKET]
        for way, (word, owner, expires_at) in enumerate(HEADS.iter_unpack(cells)):
            if word and (owners is None or owner & OWNER in owners):
                WORD.pack_into(memory, bucket + DIGESTS + way * CELL, 0)
                # If the process dies here, this key is forgotten and the next one is not.
                keys += expires_at > now
    return keys
