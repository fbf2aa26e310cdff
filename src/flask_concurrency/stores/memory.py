"""Keep counts in this process. No thread, no timer, no unbounded scan, a bounded number of keys.

Knows no HTTP and no Flask; other processes count for themselves.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.stores.store import Check, CheckTemplates, LimiterCounts
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")

MAX_KEYS = 100_000
SWEEP = 2
"""Old keys looked at for each new one, so the table shrinks faster than it grows."""
KEYS_PER_PART = 2_048
"""No request pays for all the keys there are: a dictionary that grows is copied as a whole, and on
the way to its first key steps over all that stood before it. So many small ones hold them."""

Tables = defaultdict[str, dict[str, Any]]
"""By limiter, what its policy remembers of each key."""


class MemorySnapshot(NamedTuple):
    """How full a memory store is.

    :ivar keys: Keys remembered now.
    :ivar capacity: Keys remembered at most.
    :ivar evictions: Keys forgotten before their time because the store was full.
    """

    keys: int
    capacity: int
    evictions: int


class MemoryStore:
    """Counts of one process, exact under threads.

    :param max_keys: Keys remembered at most, over all limiters (about 250 bytes each). When full,
        about the limiter with most keys forgets the one unseen for longest, which is logged once.
    :param clock: Seconds that never go back.
    :ivar forgotten: Keys dropped before their time because the store was full.
    """

    poll_interval: float | None = None

    def __init__(self, *, max_keys: int = MAX_KEYS, clock: Clock = monotonic) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._lock = threading.Lock()
        # One table a limiter: its entries live equally long, so the order of last use is close
        # to the order of expiry, and looking at the front finds what may be forgotten.
        self._parts: list[Tables] = [defaultdict(dict) for _ in range(0, max_keys, KEYS_PER_PART)]
        self._keys = 0
        # What is given back while a thread counts. It may be the same thread: the garbage
        # collector can end an abandoned request in the middle of counting another one.
        self._late: deque[tuple[Sequence[Check], float]] = deque()
        self.forgotten = 0

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any but a shadow is refused."""
        with self._lock:
            if self._late:
                self._return_late()
            outcomes = self._take(checks, self._clock())
        if self._late:
            self._try_to_return()
        return outcomes

    def take_for(self, key: str, templates: CheckTemplates) -> list[Outcome]:
        """Spend the units of all checks of one key, or of none."""
        # What most requests do: with a tuple for each check, three limits take 0.6 µs more
        # (``bench store-3``).
        with self._lock:
            if self._late:
                self._return_late()
            now = self._clock()
            tables = self._parts[hash(key) % len(self._parts)]
            admitted = True
            outcomes: list[Outcome] = []
            spent: list[tuple[dict[str, Any], Any, Policy]] = []
            for limiter_id, policy, cost, shadow in templates.each:
                table = tables[limiter_id]
                state, outcome = policy.take(table.get(key), now, cost)
                outcomes.append(outcome)
                if outcome[0]:
                    if cost:
                        spent.append((table, state, policy))
                elif not shadow:
                    admitted = False
            if admitted:
                for table, state, policy in spent:
                    if table.pop(key, None) is None:
                        self._keys += 1
                        self._make_room(table, key, policy, now)
                    table[key] = state
            else:
                outcomes = self._untaken(templates.of(key), outcomes, now)
        if self._late:
            self._try_to_return()
        return outcomes

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return what these checks took: permits of in-flight limits, or units not charged."""
        self._late.append((checks, after))
        self._try_to_return()

    def _try_to_return(self) -> None:
        # The thread that holds the lock looks here again after releasing it.
        while self._late and self._lock.acquire(blocking=False):
            try:
                self._return_late()
            finally:
                self._lock.release()

    def _return_late(self) -> None:
        now = self._clock()
        while self._late:
            checks, after = self._late.popleft()
            for check in checks:
                self._return(check, now, after)

    def _return(self, check: Check, now: float, after: float) -> None:
        table = self._table(check)
        state = table.get(check.key)
        if state is None:  # forgotten since
            return
        state = check.policy.give_back(state, now, check.cost, after)
        if check.policy.forgettable(state, now):
            del table[check.key]
            self._keys -= 1
        else:
            table[check.key] = state

    def _take(self, checks: Sequence[Check], now: float) -> list[Outcome]:
        spent = []
        outcomes: list[Outcome] = []
        admitted = True
        last = None
        for check in checks:
            limiter_id, policy, key, cost, shadow = check
            if key is not last:  # a stage's checks mostly count the same client
                last = key
                tables = self._parts[hash(key) % len(self._parts)]
            table = tables[limiter_id]
            state, outcome = policy.take(table.get(key), now, cost)
            outcomes.append(outcome)
            if outcome.admitted:
                if cost:  # else it only looks
                    spent.append((table, key, state, check))
            elif not shadow:
                admitted = False
        if not admitted:
            return self._untaken(checks, outcomes, now)
        for table, key, state, check in spent:
            if table.pop(key, None) is None:  # and put back last: it was used just now
                self._keys += 1
                self._make_room(table, key, check.policy, now)
            table[key] = state
        return outcomes

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset the counts of these checks' rates; permits stay held."""
        forgotten = 0
        with self._lock:
            for check in checks:
                table = self._table(check)
                if not isinstance(check.policy, InFlightCount) and table.pop(check.key, None):
                    self._keys -= 1
                    forgotten += 1
        return forgotten

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Reset the counts of these limiters' rates, of every key; permits stay held."""
        names = [limiter_id for limiter_id, _ in limiters]
        with self._lock:
            return sum(
                self._clear(tables[name])
                for tables in self._parts
                for name in names
                if name in tables
            )

    def clear(self) -> int:
        """Reset the counts of all rates, of every key; permits stay held."""
        with self._lock:
            return sum(
                self._clear(table)
                for table in chain.from_iterable(tables.values() for tables in self._parts)
            )

    def snapshot(self) -> MemorySnapshot:
        """How full it is."""
        with self._lock:
            return MemorySnapshot(self._keys, self._max_keys, self.forgotten)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            for tables in self._parts:
                tables.clear()
            self._keys = 0

    def __len__(self) -> int:
        """Keys remembered now."""
        return self._keys

    def _clear(self, table: dict[str, Any]) -> int:
        keys = [key for key, state in table.items() if _is_rate(state)]
        for key in keys:
            del table[key]
        self._keys -= len(keys)
        return len(keys)

    def _table(self, check: Check) -> dict[str, Any]:
        return self._parts[hash(check.key) % len(self._parts)][check.limiter_id]

    def _untaken(
        self, checks: Sequence[Check], outcomes: list[Outcome], now: float
    ) -> list[Outcome]:
        """The outcomes where one refused: of a policy that would have admitted, what is left."""
        return [
            check.policy.take(self._table(check).get(check.key), now, 0)[1]
            if outcome.admitted
            else outcome
            for check, outcome in zip(checks, outcomes, strict=True)
        ]

    def _make_room(self, table: dict[str, Any], key: str, policy: Policy, now: float) -> None:
        forgettable = policy.forgettable
        for _ in range(SWEEP):
            oldest = next(iter(table), None)
            if oldest is None or not forgettable(table[oldest], now):
                break
            del table[oldest]
            self._keys -= 1
        if self._keys > self._max_keys and not isinstance(policy, InFlightCount):
            self._forget_one(table, key)

    def _forget_one(self, table: dict[str, Any], key: str) -> None:
        """Forget a key of the limiter that has most, the new key included.

        So a flood of keys of one limit displaces its own keys, and not those of another.
        """
        tables = self._parts[hash(key) % len(self._parts)].items()
        crowded = [
            (len(other) + (other is table), limiter_id, other)
            for limiter_id, other in tables
            if other and _is_rate(next(iter(other.values())))
        ]
        if not crowded:
            return
        _, limiter_id, most = max(crowded, key=itemgetter(0))
        del most[next(iter(most))]
        self._keys -= 1
        if not self.forgotten:
            logger.warning(
                "The memory store is full: it forgot a key of %r to stay within %d keys. "
                "Count by a coarser key, or raise max_keys.",
                limiter_id,
                self._max_keys,
            )
        self.forgotten += 1


def _is_rate(state: object) -> bool:
    """What a rate remembers of a key is a tuple; how many requests are inside is a number."""
    return isinstance(state, tuple)
