"""Count the requests inside, each process by itself. Knows rows; knows no policy.

A key has one row, and in it each process has one word that it alone raises: how many units
its requests hold. The units inside are the sum of the row, so nothing has to agree with anything
else. When a process dies, the next process that needs the room sets its words to zero; to zero a
word twice is to zero it once, so any number of processes may clear up after a dead one.

The caller holds the lock of the shard, where nothing else is said.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import Final

from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.addresses import Address
from flask_concurrency.stores.host.header import DamagedFile
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
    :ivar memory: The mapped file.
    :ivar digests: Bytes of a shard's digests, which its rows follow.
    :ivar row_size: Bytes of a row.
    :ivar own: Where in a row this process's word is.
    """

    __slots__ = ("_alive", "_geometry", "_line", "_words", "digests", "memory", "own", "row_size")

    def __init__(
        self,
        memory: mmap.mmap,
        geometry: Geometry,
        *,
        line: int,
        alive: Callable[[int], bool],
    ) -> None:
        self.memory: Final = memory
        self.digests: Final = geometry.rows * DIGEST
        self.row_size: Final = geometry.row_size
        self.own: Final = line * WORD.size
        self._geometry = geometry
        self._line = line
        self._alive = alive
        # By lines in use, so that a few processes do not pay for the many that there might be.
        self._words = [struct.Struct(f"@{n}I").unpack_from for n in range(geometry.lines + 1)]

    def inside(self, row: int) -> int:
        """Units inside, those of dead processes included."""
        return sum(self._counts(row))

    def reap(self, row: int) -> int:
        """Return what dead processes hold, and give how many units are inside then."""
        left = 0
        for line, units in enumerate(self._counts(row)):
            if units and line != self._line and not self._alive(line):
                # The next owner of this line clears it first, and raises this word only with
                # the lock that we hold: what is zeroed here belongs to no living process.
                _write_word(self.memory, row + line * WORD.size, 0)
                # If the process dies here, the next one that needs room goes on.
            else:
                left += units
        return left

    def free_index(self, start: int, taken: set[int]) -> int:
        """Which row of a shard to use for a key that has none.

        :param start: The first of the shard's digests.
        :param taken: Rows that this request is about to use, empty or not.
        :raises StoreError: All of them have requests inside.
        """
        index = index_of(self.memory, NO_DIGEST, start, start + self.digests)
        if index >= 0:
            return index
        # Emptied rows keep their key until now, so that a key that comes and goes costs nothing.
        for inside in (self.inside, self.reap):  # the living are asked only when it matters
            freed = []
            for index in range(self._geometry.rows):
                row = start + self.digests + index * self.row_size
                if row not in taken and not inside(row):
                    at = start + index * DIGEST
                    self.memory[at : at + DIGEST] = NO_DIGEST
                    # If the process dies here or halfway, the row is empty and may have a wrong
                    # name; the next clearing frees it.
                    freed.append(index)
            if freed:
                return freed[0]
        raise StoreError(
            f"Requests are inside for {self._geometry.in_flight_capacity:,} keys of in-flight "
            "limits already, or nearly so many. Count by a coarser key, or raise max_keys."
        )

    def clear_own_words(self) -> None:
        """Return everything the last owner of this line held when it died.

        No lock is needed: the line is ours, so no other process raises its words. If the process
        dies halfway, the next owner of the line starts again.
        """
        for row in self._rows():
            if _read_word(self.memory, row + self.own)[0]:
                _write_word(self.memory, row + self.own, 0)

    def units_of(self, line: int) -> int:
        """Units that one process holds, over all keys. No lock is needed to look."""
        word = line * WORD.size
        return sum(_read_word(self.memory, row + word)[0] for row in self._rows())

    def _rows(self) -> list[int]:
        geometry = self._geometry
        return [
            geometry.in_flight_at + shard * geometry.in_flight_shard + self.digests + offset
            for shard in range(geometry.shards)
            for offset in range(0, geometry.rows * self.row_size, self.row_size)
        ]

    def _counts(self, row: int) -> tuple[int, ...]:
        # A process is counted in ``lines_used`` before it raises its first word.
        (lines,) = _read_word(self.memory, LINES_USED_AT)
        if lines > self._geometry.lines:
            raise DamagedFile(f"it says that {lines:,} processes have it open")
        counts: tuple[int, ...] = self._words[lines](self.memory, row)
        return counts


class InFlightRow:
    """The row of one key, as one process finds it.

    An empty row may be given to another key; where it was last is only a hint.

    :param address: Where the key is counted.
    :param rows: The rows of the file.
    :ivar policy: The class of the policy that counts there.
    :ivar shard: The part of the file to lock.
    :ivar row: Where the row is, once it was found.
    """

    __slots__ = ("_digest", "_digest_at", "_rows", "_start", "policy", "row", "shard")

    def __init__(self, address: Address, rows: InFlightRows) -> None:
        self.policy, self.shard, self._start, self._digest, _ = address
        self._rows = rows
        self._hint(0)

    def read(self, now: float) -> int | None:
        """How many units are inside, those of dead processes included; ``None`` without a row."""
        return self._rows.inside(self.row) if self._found() else None

    def reap(self) -> int:
        """Return what dead processes hold, and give how many units are inside then."""
        return self._rows.reap(self.row)

    def reserve(self, taken: set[int]) -> None:
        """Give the key a row, which is empty.

        :param taken: Rows that this request is about to use; this one is added.
        :raises StoreError: All rows of the shard have requests inside.
        """
        if not self._found():
            self._hint(self._rows.free_index(self._start, taken))
            self._rows.memory[self._digest_at : self._digest_at + DIGEST] = self._digest
            # If the process dies here, or halfway through the digest, an empty row has a name
            # that no key, or only its own key, looks for; the next clearing frees it.
        taken.add(self.row)

    def count(self, old: int | None, state: int, policy: Policy) -> None:
        """Let units of this process in.

        :param old: What :meth:`read` or :meth:`reap` gave just before.
        :param state: Units inside then.
        """
        at = self.row + self._rows.own
        (own,) = _read_word(self._rows.memory, at)
        _write_word(self._rows.memory, at, own + state - (old or 0))
        # If the process dies here, its life ends with it, so the units are reaped.

    def let_out(self, units: int) -> None:
        """Let units of this process out; a process that holds none gives nothing back.

        No other process need be kept out: this one alone writes its word, and a row stays where
        it is as long as a request is inside. Others see the old sum or the new one. Only threads
        of this process must wait for each other.
        """
        if not self._found():
            return
        at = self.row + self._rows.own
        (own,) = _read_word(self._rows.memory, at)
        _write_word(self._rows.memory, at, max(0, own - units))

    def _hint(self, index: int) -> None:
        self._digest_at = self._start + index * DIGEST
        self.row = self._start + self._rows.digests + index * self._rows.row_size

    def _found(self) -> bool:
        rows = self._rows
        at = self._digest_at
        if rows.memory[at : at + DIGEST] == self._digest:
            return True
        index = index_of(rows.memory, self._digest, self._start, self._start + rows.digests)
        if index < 0:
            return False
        self._hint(index)
        return True
