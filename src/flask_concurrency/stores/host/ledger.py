"""Decide over all checks of a request at once, in one open file: all are counted or none is.

Knows policies, records and rows; knows no path and no fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.host.addresses import Address, Addresses
from flask_concurrency.stores.host.blocks import Blocks, Extent
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.in_flight import InFlightRows
from flask_concurrency.stores.host.locks import FileGone
from flask_concurrency.stores.host.private_file import OpenFile
from flask_concurrency.stores.host.rates import Rates
from flask_concurrency.stores.store import Check
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Outcome

LOOK_EVERY: Final = 1.0
"""Seconds until a process notices that its file was removed or replaced."""

Later = Callable[[Callable[[], None]], None]

Request = list[tuple[Address, Policy, int, bool]]
"""Of each check: where it counts, by which policy, its cost, and whether it is a shadow."""

_Counted = tuple[int, Address, Policy, Any, Any]
"""What to write: into which cell or row (0 for none yet), whose, by which policy, what was there, and
what will be: a rate's states, or the units inside and those to let in."""


class Ledger:
    """One process's use of one open file, until it is closed.

    :param file: The file.
    :param clock: Seconds that never go back, the same for all processes.
    :param later: Takes what is to be called when no lock is held any more.
    :ivar file: The file.
    :ivar evictions: Keys forgotten before their time.
    :ivar in_flight: Who is inside.
    """

    __slots__ = (
        "_addresses",
        "_clock",
        "_file_size",
        "_locked",
        "_look_at",
        "_rates",
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
        self._addresses = Addresses(geometry, file.header.secret)
        blocks = Blocks(file.memory, geometry, self.evictions)
        self._rates = Rates(file.memory, blocks, self.evictions)
        # Whoever claims the line of a dead process is alive in its place, so that nobody reaps
        # what it held any more: it is returned here.
        self.in_flight.clear_own_words()

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any but a shadow is refused.

        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time, or the file is full.
        """
        remembered = self._addresses.remembered
        request = []
        shards: list[int] = []
        for limiter_id, policy, key, cost, shadow in checks:
            address = remembered.get((limiter_id, key))
            if address is None or address[0] is not type(policy):
                address = self._addresses.find(limiter_id, policy, key)
            request.append((address, policy, cost, shadow))
            if address[1] not in shards:
                shards.append(address[1])
        shards.sort()
        return self._locked(shards, self._decide, request)

    def give_back(self, checks: Sequence[Check], after: float) -> None:
        """Return what checks took earlier.

        :param after: Seconds since then.
        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time, or the file is full.
        """
        locks = self.file.locks
        rates: Request = []
        for limiter_id, policy, key, cost, shadow in checks:
            address = self._addresses.find(limiter_id, policy, key)
            if address.codec is None:
                locks.threads_locked(address.shard, self._let_out, (address, cost))
            else:
                rates.append((address, policy, cost, shadow))
        if rates:
            shards = sorted({address.shard for address, *_ in rates})
            locks.locked(shards, self._refund, (rates, after))

    def forget(self, checks: Sequence[Check]) -> int:
        """Start the counts of rates anew; permits stay held.

        :returns: How many of the keys were remembered.
        :raises FileGone: The file cannot be used any more.
        :raises StoreError: A lock was not to be had in time.
        """
        addresses = [
            self._addresses.find(check.limiter_id, check.policy, check.key) for check in checks
        ]
        rates = [address for address in addresses if address.codec is not None]
        if not rates:
            return 0
        shards = sorted({address.shard for address in rates})
        return self.file.locks.locked(shards, self._remove, rates)

    def probe(self) -> None:
        """See whether the file is there and can be locked.

        :raises FileGone: It is not.
        :raises StoreError: A lock was not to be had in time.
        """
        self.file.locks.locked([0], self._look, self._clock())

    def close(self, *, wait: bool) -> None:
        """Let go of the file; what this process holds comes back as if it had died.

        :param wait: Until no thread is counting any more.
        """
        self.file.locks.close(wait=wait)
        self.file.memory.close()

    def _decide(self, request: Request) -> list[Outcome]:
        now = self._clock()  # read with the locks held, so it is later than all that is written
        self._look(now)
        rates, in_flight = self._rates, self.in_flight
        outcomes: list[Outcome] = []
        counted: list[_Counted] = []
        admitted = plain = True
        for address, policy, cost, shadow in request:
            codec = address.codec
            if codec is not None:
                place, old = rates.read(address)
                state, outcome = policy.take(old, now, cost)
                if codec.in_blocks:
                    plain = False
            else:
                place, old = in_flight.read(address)
                state, outcome = cost, policy.take(old, now, cost)[1]
                if place and not (outcome.admitted and cost):
                    # Only who would be refused, or merely looks, asks who is dead.
                    outcome = policy.take(in_flight.reap(place), now, cost)[1]
            if not place:
                plain = False
            outcomes.append(outcome)
            if outcome.admitted:
                counted.append((place, address, policy, old, state))
            elif not shadow:
                admitted = False
        if not admitted:
            return [
                self._unspent(address, policy, now) if outcome.admitted else outcome
                for (address, policy, _, _), outcome in zip(request, outcomes, strict=True)
            ]
        # If the process dies between two of the writes that follow, some limits have counted a
        # request that nobody will answer and others have not. To its client that is the same as
        # if it had died a little later; its permits are reaped.
        if plain:
            for place, address, policy, old, state in counted:
                if address.codec is not None:
                    rates.count(place, address, policy, old, state)
                else:
                    in_flight.add(place, state)
        else:
            self._write_carefully(counted, now)
        return outcomes

    def _unspent(self, address: Address, policy: Policy, now: float) -> Outcome:
        """What a policy that would have admitted reports when another one refused."""
        if address.codec is not None:
            _, state = self._rates.read(address)
        else:
            _, state = self.in_flight.read(address)
        return policy.take(state, now, 0)[1]

    def _write_carefully(self, counted: list[_Counted], now: float) -> None:
        """Write what needs room first: rows, cells for new keys, blocks for logs."""
        rates = self._rates
        rows = [place for place, address, *_ in counted if address.codec is None]
        unnamed: list[Extent] = []
        ready: list[_Counted] = []
        # What can fail comes before any count changes. An empty row with a name counts nothing,
        # nor does a log to which no record points.
        for place, address, policy, old, state in counted:
            if address.codec is None:
                if not place:
                    place = self.in_flight.reserve(address, rows)
                    rows.append(place)
            elif address.codec.in_blocks:
                state = rates.store_log(address.shard, state, now, unnamed)
            ready.append((place, address, policy, old, state))
        for place, address, policy, _, state in ready:
            if address.codec is None:
                self.in_flight.add(place, state)
            elif place:
                rates.write(place, address, policy, state)
        # A new key may take the cell of any other, so the others are written by now.
        for place, address, policy, _, state in ready:
            if not place:
                rates.insert(address, policy, state, now)

    def _let_out(self, given: tuple[Address, int]) -> None:
        if self._file_size() < self._size:
            raise FileGone
        self.in_flight.subtract(*given)

    def _refund(self, given: tuple[Request, float]) -> None:
        request, after = given
        now = self._clock()
        self._look(now)
        for address, policy, cost, _ in request:
            place, state = self._rates.read(address)
            if not place or policy.forgettable(state, now):
                continue
            state = policy.give_back(state, now, cost, after)
            if address.codec is not None and address.codec.in_blocks:
                state = self._rates.store_log(address.shard, state, now, [])
            self._rates.write(place, address, policy, state)

    def _remove(self, addresses: list[Address]) -> int:
        self._look(self._clock())
        removed = 0
        for address in addresses:
            cell, _ = self._rates.read(address)
            if cell:
                self._rates.remove(cell, address)
                removed += 1
        return removed

    def _look(self, now: float) -> None:
        """Make sure that the file is whole, and from time to time that it is still the one.

        Touching a page that was cut off kills the process, so each request asks for the size.
        Whoever cuts the file off between this line and the last write of the same request still
        kills it; nobody but the owner of the private directory can.
        """
        if self._file_size() < self._size:
            raise FileGone
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            try:
                found = os.stat(self.file.path, follow_symlinks=False)
            except FileNotFoundError:
                raise FileGone from None
            if (found.st_dev, found.st_ino) != self.file.inode:
                raise FileGone
