"""Decide by a bucket that refills evenly: bursts up to its size, the rate in the long run.

Two numbers a key. Knows no clock, no key, no store.

It decides like the generic cell rate algorithm of ITU-T I.371, but remembers the units spent and
since when instead of one theoretical arrival time: a burst at one instant is then counted in whole
numbers, however large the instant is.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.policies.spending import refuse_negative
from flask_concurrency.vocabulary.decision import Outcome

Bucket = tuple[float, float]
"""An instant, and the units that had not flowed back then."""


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """At most ``burst`` units at once, and ``quota`` per ``period`` in the long run.

    :param quota: Units that flow back per period.
    :param period: Seconds.
    :param burst: Units the bucket holds; it starts full.
    """

    quota: int
    period: float
    burst: int

    def take(self, state: Bucket | None, now: float, cost: int) -> tuple[Bucket, Outcome]:
        """Spend ``cost`` units if the bucket holds them; a refusal spends nothing.

        :param state: What the last call returned; ``None`` for a key never seen.
        :param now: The instant, in seconds of any clock that does not go back.
        """
        spent = self._spent(state, now)
        admitted = spent + cost <= self.burst
        if cost < 0:
            refuse_negative(cost)
        if admitted:
            spent += cost
        bucket = (now, spent)
        remaining = int(self.burst - spent)
        return bucket, Outcome(
            admitted,
            remaining,
            0.0 if admitted else self._retry_after(bucket, now, cost),
            self._until(bucket, self.burst - remaining - 1) if spent else 0.0,
        )

    def give_back(self, state: Bucket, now: float, cost: int, after: float) -> Bucket:
        """Return ``cost`` units but for what may have flowed back in ``after`` seconds already."""
        left = max(0.0, cost - after * self.quota / self.period)
        return now, max(0.0, self._spent(state, now) - left)

    def forgettable(self, state: Bucket, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return self._spent(state, now) <= 0

    def _spent(self, state: Bucket | None, now: float) -> float:
        if state is None:
            return 0.0
        at, spent = state
        return max(0.0, spent - max(0.0, now - at) * self.quota / self.period)

    def _until(self, bucket: Bucket, ceiling: float) -> float | None:
        """Seconds until at most ``ceiling`` units are out; ``None`` if nothing flows back."""
        if self.quota == 0:
            return None
        return max(0.0, (bucket[1] - ceiling) * self.period / self.quota)

    def _retry_after(self, bucket: Bucket, now: float, cost: int) -> float | None:
        wait = self._until(bucket, self.burst - cost)
        if cost > self.burst or wait is None:
            return None
        return exact_wait(wait, now, lambda at: self._spent(bucket, at) + cost <= self.burst)
