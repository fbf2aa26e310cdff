"""Decide by how many are inside right now. Knows no clock, no key, no store."""

from __future__ import annotations

from dataclasses import dataclass

from flask_concurrency.policies.spending import refuse_negative
from flask_concurrency.vocabulary.decision import Outcome


@dataclass(frozen=True, slots=True)
class InFlightCount:
    """At most ``quota`` units at once; what is taken must be given back.

    :param quota: Units that may be inside.
    """

    quota: int

    def take(self, state: int | None, now: float, cost: int) -> tuple[int, Outcome]:
        """Let ``cost`` units in if they fit; a refusal changes nothing.

        :param state: Units inside; ``None`` for none.
        :param now: Not used: how long a request stays inside is not known.
        """
        inside = state or 0
        admitted = inside + cost <= self.quota
        if cost < 0:
            refuse_negative(cost)
        if admitted:
            inside += cost
        left = max(0, self.quota - inside)  # the quota may be another than when they came in
        return inside, Outcome(admitted, left, 0.0 if admitted else None, None)

    def give_back(self, state: int, now: float, cost: int, after: float) -> int:
        """Let ``cost`` units out again, however long they were inside."""
        return max(0, state - cost)

    def forgettable(self, state: int, now: float) -> bool:
        """Whether the state decides like a key never seen."""
        return state == 0
