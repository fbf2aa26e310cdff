"""Forget the rates of all keys of a shard. Knows where their cells are, not what they count.

The caller holds the lock of the shard.
"""

from __future__ import annotations

import mmap

from flask_concurrency.stores.host.layout import (
    BUCKET,
    CELL,
    DIGESTS,
    EXPIRY,
    EXPIRY_AT,
    WORD,
    Geometry,
)


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
        for way, (selector, _, *records) in enumerate(CELL.iter_unpack(cells)):
            if selector:
                WORD.pack_into(memory, bucket + DIGESTS + way * CELL.size, 0)
                # If the process dies here, this key is forgotten and the next one is not.
                if EXPIRY.unpack_from(records[selector - 1], EXPIRY_AT)[0] > now:
                    keys += 1
    marks = geometry.maps_at + shard * geometry.blocks
    memory[marks : marks + geometry.blocks] = bytes(geometry.blocks)
    # If the process dies before this or halfway, blocks are marked that are unused; they are
    # found when none is left.
    return keys
