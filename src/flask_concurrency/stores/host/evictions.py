"""Count the keys that were forgotten before their time, and log that once. Knows no key."""

from __future__ import annotations

import mmap
from collections.abc import Callable

from flask_concurrency.stores.host.layout import COUNTER, Geometry
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")


class Evictions:
    """The counters of one mapped file.

    :param memory: The mapped file.
    :param geometry: Where things are in it.
    :param later: Takes what is to be called when no lock is held any more.
    """

    __slots__ = ("_geometry", "_later", "_memory", "_told")

    def __init__(
        self,
        memory: mmap.mmap,
        geometry: Geometry,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._memory = memory
        self._geometry = geometry
        self._later = later
        self._told = False

    def add(self, shard: int) -> None:
        """Count one; the caller holds the lock of the shard."""
        at = self._geometry.evictions_at + shard * COUNTER.size
        (evictions,) = COUNTER.unpack_from(self._memory, at)
        COUNTER.pack_into(self._memory, at, evictions + 1)
        if not self._told:
            self._told = True
            self._later(self._tell)

    def total(self) -> int:
        """Keys that all processes had to forget since the file was built."""
        first = self._geometry.evictions_at
        counters = range(first, first + self._geometry.shards * COUNTER.size, COUNTER.size)
        return sum(COUNTER.unpack_from(self._memory, at)[0] for at in counters)

    def _tell(self) -> None:
        logger.warning(
            "The host store is full: it forgot a key that still counted, to stay within %d keys. "
            "Count by a coarser key, or raise max_keys.",
            self._geometry.capacity,
        )
