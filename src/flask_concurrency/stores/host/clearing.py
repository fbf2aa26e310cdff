"""Forget the rates of all keys of a shard. Knows where their cells are, not what they count.

The caller holds the lock of the shard.
"""

from __future__ import annotations

import mmap

from flask_concurrency.stores.host.layout import BUCKET, CELL, DIGESTS, HEADS, WORD, Geometry


def clear_shard(memory: mmap.mmap, geometry: Geometry, shard: int, now: float) -> int:
    """Forget the rates of all keys of a shard.

    :param memory: The mapped file.
    :param geometry: Where things are in it.
    :param now: Keys that expired by then do not count any more.
    :returns: How many keys counted.
    """
    size = geometry.buckets * BUCKET
    start = geometry.rates_at + shard * size
    keys = 0
    for bucket in range(start, start + size, BUCKET):
        cells = memory[bucket + DIGESTS : bucket + BUCKET]
        for way, (word, _, expires_at) in enumerate(HEADS.iter_unpack(cells)):
            if word:
                WORD.pack_into(memory, bucket + DIGESTS + way * CELL, 0)
                # If the process dies here, this key is forgotten and the next one is not.
                keys += expires_at > now
    return keys
