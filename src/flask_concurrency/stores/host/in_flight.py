"""Count who is inside, each process by itself. Knows rows; knows neither policies nor deciding.

A key has one row, and in it each process has one word that nobody else raises: how many units
its requests hold. The units inside are the sum of the row, so nothing has to agree with anything
else. When a process dies its words are taken for zero by whoever needs the room; to zero a word
twice is to zero it once, so any number of processes may clear up after a dead one.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Collection

from flask_concurrency.stores.host.addresses import Address
from flask_concurrency.stores.host.layout import (
    DIGEST,
    LINES_USED_AT,
    NO_DIGEST,
    WORD,
    Geometry,
    index_of,
)
from flask_concurrency.vocabulary.errors import StoreError

_read_word = WORD.unpack_from
_write_word = WORD.pack_into


class InFlightRows:
    """The rows of one mapped file, as one process uses them.

    :param memory: The mapped file.
    :param geometry: Where things are in it.
    :param line: Which word of each row is this process's own.
    :param alive: Whether the process of a line still lives.
    """

    __slots__ = ("_alive", "_digests", "_geometry", "_line", "_memory", "_words")

    def __init__(
        self,
        memory: mmap.mmap,
        geometry: Geometry,
        *,
        line: int,
        alive: Callable[[int], bool],
    ) -> None:
        self._memory = memory
        self._geometry = geometry
        self._line = line
        self._alive = alive
        self._digests = geometry.rows * DIGEST
        # By lines in use, so that a few processes do not pay for the many that there might be.
        self._words = [struct.Struct(f"@{n}I").unpack_from for n in range(geometry.lines + 1)]

    def read(self, address: Address) -> tuple[int, int]:
        """Find a key's row and how many units are inside.

        :returns: Where the row is and the sum of it; ``0`` and ``0`` for a key not there.
        """
        start = address.start
        index = index_of(self._memory, address.digest, start, start + self._digests)
        if index < 0:
            return 0, 0
        row = start + self._digests + index * self._geometry.row_size
        return row, sum(self._counts(row))

    def reap(self, row: int) -> int:
        """Return what dead processes hold, and give how many units are inside then.

        The caller holds the lock of the shard.
        """
        left = 0
        for line, units in enumerate(self._counts(row)):
            if units and line != self._line and not self._alive(line):
                # Whoever gets this line next clears it before, and raises this word only with
                # the lock that we hold: what is zeroed here is nobody's.
                _write_word(self._memory, row + line * WORD.size, 0)
                # If the process dies here, the next one that needs room goes on.
            else:
                left += units
        return left

    def add(self, row: int, units: int) -> None:
        """Let units of this process in. The caller holds the lock of the shard."""
        at = row + self._line * WORD.size
        (own,) = _read_word(self._memory, at)
        _write_word(self._memory, at, own + units)
        # If the process dies here, its life ends with it, so the units are reaped.

    def subtract(self, address: Address, units: int) -> None:
        """Let units of this process out; a process that holds none gives nothing back.

        No other process need be kept out: this one alone writes its word, and a row stays where
        it is as long as somebody is inside. Others see the old sum or the new one. Only threads
        of this process must wait for each other.
        """
        start = address.start
        index = index_of(self._memory, address.digest, start, start + self._digests)
        if index < 0:
            return
        row = start + self._digests + index * self._geometry.row_size
        at = row + self._line * WORD.size
        (own,) = _read_word(self._memory, at)
        _write_word(self._memory, at, max(0, own - units))

    def reserve(self, address: Address, keep: Collection[int]) -> int:
        """Give a key its row, which is empty. The caller holds the lock of the shard.

        :param keep: Rows that are about to be used, empty or not.
        :raises StoreError: Somebody is inside in all rows of the shard.
        """
        memory = self._memory
        start = address.start
        end = start + self._digests
        index = index_of(memory, address.digest, start, end)
        if index < 0:
            index = index_of(memory, NO_DIGEST, start, end)
        if index < 0:
            index = self._free(start, keep)
        at = start + index * DIGEST
        memory[at : at + DIGEST] = address.digest
        # If the process dies here, or halfway through the digest, an empty row has a name that
        # is looked for by nobody or by its key; the next clearing frees it.
        return end + index * self._geometry.row_size

    def clear_own_words(self) -> None:
        """Return everything the last owner of this line held when it died.

        No lock is needed: the line is ours, so nobody else raises its words. If the process dies
        halfway, the next owner of the line starts again.
        """
        geometry = self._geometry
        for shard in range(geometry.shards):
            rows = geometry.in_flight_at + shard * geometry.in_flight_shard + self._digests
            first = rows + self._line * WORD.size
            for at in range(first, first + geometry.rows * geometry.row_size, geometry.row_size):
                if _read_word(self._memory, at)[0]:
                    _write_word(self._memory, at, 0)

    def units_of(self, line: int) -> int:
        """Units that one process holds, over all keys."""
        geometry = self._geometry
        units = 0
        for shard in range(geometry.shards):
            rows = geometry.in_flight_at + shard * geometry.in_flight_shard + self._digests
            for index in range(geometry.rows):
                at = rows + index * geometry.row_size + line * WORD.size
                units += _read_word(self._memory, at)[0]
        return units

    def _counts(self, row: int) -> tuple[int, ...]:
        # A process is counted in ``lines_used`` before it raises its first word.
        (lines,) = _read_word(self._memory, LINES_USED_AT)
        counts: tuple[int, ...] = self._words[lines](self._memory, row)
        return counts

    def _free(self, start: int, keep: Collection[int]) -> int:
        """Free all rows of a shard in which nobody is, and give the first.

        Emptied rows keep their key until then, so that a key that comes and goes costs nothing.
        """
        rows = start + self._digests
        for inside in (self._sum, self.reap):  # the living are asked only when it matters
            freed = []
            for index in range(self._geometry.rows):
                row = rows + index * self._geometry.row_size
                if row not in keep and not inside(row):
                    at = start + index * DIGEST
                    self._memory[at : at + DIGEST] = NO_DIGEST
                    # If the process dies here or halfway, the row is empty and may have a wrong
                    # name; the next clearing frees it.
                    freed.append(index)
            if freed:
                return freed[0]
        raise StoreError(
            f"Somebody is inside for {self._geometry.in_flight_capacity:,} keys of in-flight "
            "limits already, or nearly so many. Count by a coarser key, or raise max_keys."
        )

    def _sum(self, row: int) -> int:
        return sum(self._counts(row))
