"""Decide over all checks of a request at once, in one open file: all are counted or none is.

Knows policies, records and rows; knows no path and no fork.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.cell_index import REMEMBERED, CellIndex, Entry
from flask_concurrency.stores.host.clearing import clear_shard
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.header import DamagedFile
from flask_concurrency.stores.host.in_flight import InFlightRow, InFlightRows
from flask_concurrency.stores.host.locks import FileGone
from flask_concurrency.stores.host.private_file import OpenFile
from flask_concurrency.stores.host.rates import RateCell
from flask_concurrency.stores.host.window_cell import WindowCell, Windows, spend
from flask_concurrency.stores.store import Check, CheckTemplates, LimiterCounts
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import ConfigurationError

LOOK_EVERY: Final = 1.0
"""Seconds until a process notices that its file was removed or replaced."""

NONSENSE: Final = (ArithmeticError, LookupError, ValueError, struct.error)
"""What comes of arithmetic with numbers that no process of ours wrote."""

Later = Callable[[Callable[[], None]], None]

_Question = tuple[Entry, Policy, int, bool]
"""Of a check: where it counts, by which policy, its cost, and whether it is a shadow."""

Request = Sequence[_Question]

_Prepared = tuple[list[int], Any, bool]
"""The shards of one key's checks, the checks, and whether they are all of sliding windows."""

_Counted = tuple[Any, Any, Any, Policy]
"""What to write: where, what was there (``None`` for nothing), what will be, by which policy."""


class Transactions:
    """One process's use of one open file, until it is closed.

    :param file: The file.
    :param clock: Seconds that never go back, the same for all processes.
    :param later: Takes what is to be called when no lock is held any more.
    :ivar file: The file.
    :ivar evictions: Keys forgotten before their time.
    :ivar in_flight: Who is inside.
    """

    __slots__ = (
        "_clock",
        "_file_size",
        "_index",
        "_locked",
        "_look_at",
        "_memory",
        "_prepared",
        "_size",
        "evictions",
        "file",
        "in_flight",
    )

    def __init__(self, file: OpenFile, clock: Clock, later: Later) -> None:
        geometry = file.header.geometry
        self.file = file
        self.evictions = Evictions(file.memory, geometry, later)
        self.in_flight = InFlightRows(file.memory, geometry, line=file.line, alive=file.locks.alive)
        self._clock = clock
        self._locked = file.locks.locked
        self._file_size = file.locks.file_size
        self._size = geometry.size
        self._look_at = clock() + LOOK_EVERY
        self._index = CellIndex(file, self.evictions, self.in_flight)
        self._memory = file.memory
        self._prepared: dict[tuple[CheckTemplates, str], _Prepared] = {}
        # A process that claims the line of a dead one looks alive in its place, so no process reaps
        # what the dead one held: it is returned here.
        self.in_flight.clear_own_words()

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any but a shadow is refused.

        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time, or the file is full.
        """
        remembered = self._index.remembered
        request: list[_Question] = []
        shards: list[int] = []
        for limiter_id, policy, key, cost, shadow in checks:
            entry = remembered.get((limiter_id, key))
            if entry is None or entry.policy is not type(policy):
                entry = self._index.find(limiter_id, policy, key)
            request.append((entry, policy, cost, shadow))
            if entry.shard not in shards:
                shards.append(entry.shard)
        shards.sort()
        return self._take(shards, request)

    def take_for(self, key: str, templates: CheckTemplates) -> list[Outcome]:
        """Spend the units of all checks of one key, or of none.

        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time, or the file is full.
        """
        # Where a client is counted does not change. To look that up for each of three limits
        # takes 1.5 µs (``bench store-3``).
        found = self._prepared.get((templates, key)) or self._prepare(key, templates)
        shards, request, windows = found
        try:
            return self._locked(shards, self._decide_windows if windows else self._decide, request)
        except ConfigurationError:
            raise
        except NONSENSE as error:
            raise _damaged(error) from error

    def _prepare(self, key: str, templates: CheckTemplates) -> _Prepared:
        request: Request = [
            (self._index.find(limiter_id, policy, key), policy, cost, shadow)
            for limiter_id, policy, cost, shadow in templates.each
        ]
        windows = all(isinstance(entry, WindowCell) for entry, *_ in request)
        prepared = sorted({entry.shard for entry, *_ in request}), request, windows
        if len(self._prepared) >= REMEMBERED:
            self._prepared.clear()
        self._prepared[templates, key] = prepared
        return prepared

    def _take(self, shards: list[int], request: Request) -> list[Outcome]:
        try:
            return self._locked(shards, self._decide, request)
        except ConfigurationError:
            raise
        except NONSENSE as error:
            raise _damaged(error) from error

    def give_back(self, checks: Sequence[Check], after: float) -> None:
        """Return what checks took earlier.

        :param after: Seconds since then.
        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time, or the file is full.
        """
        rates: list[tuple[RateCell, Policy, int]] = []
        for limiter_id, policy, key, cost, _ in checks:
            entry = self._index.find(limiter_id, policy, key)
            if isinstance(entry, InFlightRow):
                self.file.locks.threads_locked(entry.shard, self._let_out, (entry, cost))
            else:
                rates.append((entry, policy, cost))
        if rates:
            shards = sorted({entry.shard for entry, _, _ in rates})
            try:
                self._locked(shards, self._refund, (rates, after))
            except NONSENSE as error:
                raise _damaged(error) from error

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset the counts of rates; permits stay held.

        :returns: How many of the keys were remembered.
        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time.
        """
        entries = [self._index.find(check.limiter_id, check.policy, check.key) for check in checks]
        cells = [entry for entry in entries if isinstance(entry, RateCell)]
        if not cells:
            return 0
        return self._locked(sorted({cell.shard for cell in cells}), self._remove, cells)

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Reset the counts of these limiters' rates, shard by shard; permits stay held.

        :returns: How many keys were remembered.
        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time.
        """
        return self._clear({self._index.owner_of(*counts) for counts in limiters})

    def clear(self) -> int:
        """Reset the counts of all rates, shard by shard; permits stay held.

        :returns: How many keys were remembered.
        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time.
        """
        return self._clear(None)

    def _clear(self, owners: Collection[int] | None) -> int:
        return sum(
            self._locked([shard], self._clear_shard, (shard, owners))
            for shard in range(self.file.header.geometry.shards)
        )

    def probe(self) -> None:
        """See whether the file is there and can be locked, where it could not be before.

        :raises FileGone: It is not.
        :raises StoreError: A lock was not to be had in time.
        """
        for shard in self.file.locks.stuck() or [0]:
            self.file.locks.locked([shard], self._look, self._clock())
        self.file.locks.unstick()

    def close(self, *, wait: bool) -> None:
        """Close the file; what this process holds comes back as if it had died.

        :param wait: Until no thread is counting any more.
        """
        self.file.locks.close(wait=wait)
        self.file.memory.close()

    def _decide_windows(self, request: Windows) -> list[Outcome]:
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        return spend(request, self._memory, now) or self._decide(request)

    def _decide(self, request: Request) -> list[Outcome]:
        now = self._clock()  # read with the locks held, so it is later than all that is written
        if now >= self._look_at:
            self._look(now)
        outcomes: list[Outcome] = []
        counted: list[_Counted] = []
        admitted = known = True
        for entry, policy, cost, shadow in request:
            old = entry.read(now)
            state, outcome = policy.take(old, now, cost)
            if old is None:
                known = False
            elif not (outcome.admitted and cost) and isinstance(entry, InFlightRow):
                # Ask which processes are dead only where it matters: for a refusal or a look.
                old = entry.reap()
                state, outcome = policy.take(old, now, cost)
            outcomes.append(outcome)
            if outcome.admitted:
                if cost:  # else it only looks
                    counted.append((entry, old, state, policy))
            elif not shadow:
                admitted = False
        if not admitted:
            return [
                # What a policy that would have admitted reports when another one refused.
                policy.take(entry.read(now), now, 0)[1] if outcome.admitted else outcome
                for (entry, policy, _, _), outcome in zip(request, outcomes, strict=True)
            ]
        # If the process dies between two of the writes that follow, some limits have counted a
        # request that gets no answer, and others have not. To its client that is the same as
        # if it had died a little later; its permits are reaped.
        if not known:
            self._make_room(counted, now)
        else:
            for entry, old, state, policy in counted:
                entry.count(old, state, policy)
        return outcomes

    def _make_room(self, counted: list[_Counted], now: float) -> None:
        """Write what needs room, too: rows, and cells of new keys."""
        # What can fail comes before any count changes. An empty row with a name counts nothing.
        rows = [each for each in counted if isinstance(each[0], InFlightRow)]
        taken = {row.row for row, old, _, _ in rows if old is not None}
        for row, *_ in rows:
            row.reserve(taken)
        for entry, old, state, policy in counted:
            if old is not None or isinstance(entry, InFlightRow):
                entry.count(old, state, policy)
        # A new key may take the cell of any other, so the others are written by now.
        for entry, old, state, policy in counted:
            if old is None and isinstance(entry, RateCell):
                entry.insert(state, policy, now)

    def _let_out(self, given: tuple[InFlightRow, int]) -> None:
        if self._file_size() < self._size:
            raise FileGone("was cut off")
        row, units = given
        row.let_out(units)

    def _refund(self, given: tuple[list[tuple[RateCell, Policy, int]], float]) -> None:
        cells, after = given
        now = self._clock()
        self._look(now)
        for cell, policy, cost in cells:
            state = cell.read(now)
            if state is not None and not policy.forgettable(state, now):
                cell.refund(state, policy.give_back(state, now, cost, after), policy)

    def _remove(self, cells: list[RateCell]) -> int:
        now = self._clock()
        self._look(now)
        removed = 0
        for cell in cells:
            if cell.read(now) is not None:
                cell.remove()
                removed += 1
        return removed

    def _clear_shard(self, cleared: tuple[int, Collection[int] | None]) -> int:
        shard, owners = cleared
        now = self._clock()
        self._look(now)
        return clear_shard(self.file.memory, self.file.header.geometry, shard, now, owners)

    def _look(self, now: float) -> None:
        """Make sure from time to time that the file is still the one.

        Touching a page that was cut off kills the process, so each lock says that it is whole.
        A file cut off between that and the last write of the same request still kills the
        process; only the owner of the private directory can do that.
        """
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        try:
            found = os.stat(self.file.path, follow_symlinks=False)
        except FileNotFoundError:
            raise FileGone("was removed") from None
        if (found.st_dev, found.st_ino) != self.file.inode:
            raise FileGone("was replaced")
        if found.st_size != self._size:
            raise FileGone("is of another size")


def _damaged(error: Exception) -> DamagedFile:
    return DamagedFile(f"a count in it makes no sense ({type(error).__name__}: {error})")
