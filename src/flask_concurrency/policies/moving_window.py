"""Decide by the exact log of what was admitted in the trailing period.

No approximation and no boundary, at the price of one entry a request. Knows no clock, no key, no
store.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask_concurrency.policies.exact_wait import exact_wait
from flask_concurrency.vocabulary.decision import Outcome

Log = tuple[tuple[float, int], ...]
"""Instant and cost of each admitted request of the trailing period, oldest first."""


@dataclass(frozen=True, slots=True)
class MovingWindow:
    """At most ``quota`` units in every trailing ``period``, exactly.

    :param quota: Units allowed, and entries remembered at most.
    :param period: Seconds.
    """

    quota: int
    period: float

    def take(self, state: Log | None, now: float, cost: int) -> tuple[Log, Outcome]:
        """Spend ``cost`` units if they fit; a refusal spends nothing.

        :param state: What the last call returned; ``None`` for a key never seen.
        :param now: The instant, in seconds of any clock that does not go back.
        """
        log = self._recent(state or (), now)
        used = sum(units for _, units in log)
        admitted = used + cost <= self.quota
        if admitted and cost:
            log = (*log, (now, cost))
            used += cost
        return log, Outcome(
            admitted,
            self.quota - used,
            0.0 if admitted else self._retry_after(log, now, used + cost - self.quota),
            self._until_gone(log[0], now) if log else 0.0,
        )

    def give_back(self, state: Log, now: float, cost: int, after: float) -> Log:
        """Take the entry of ``cost`` units made ``after`` seconds ago out of the log."""
        log = self._recent(state, now)
        alike = [index for index, (_, units) in enumerate(log) if units == cost]
        if not alike:
            return log
        nearest = min(alike, key=lambda index: abs(now - after - log[index][0]))
        return log[:nearest] + log[nearest + 1 :]

    def forgettable(self, state: Log, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return not self._recent(state, now)

    def _recent(self, log: Log, now: float) -> Log:
        for index, (at, _) in enumerate(log):
            if now - at < self.period:
                return log[index:]
        return ()

    def _until_gone(self, entry: tuple[float, int], now: float) -> float:
        at = entry[0]
        return exact_wait(at + self.period - now, now, lambda then: then - at >= self.period)

    def _retry_after(self, log: Log, now: float, excess: int) -> float | None:
        """When enough of the oldest entries have left; ``None`` if all together are too few."""
        for entry in log:
            excess -= entry[1]
            if excess <= 0:
                return self._until_gone(entry, now)
        return None
