"""Ask all limiters of a route at once: all let the request in, or none is charged.

Knows limiters and a store; knows no Flask, no HTTP, no waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask_concurrency.admission.limiter import Limiter, countable
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.decision import Decision, Verdict
from flask_concurrency.vocabulary.permit import Ending, Permit


class Gate:
    """Limiters in the order they are reported, over one store.

    :param limiters: What applies; their names and ids are unique.
    :param store: Where they count.
    """

    __slots__ = ("_rows", "_store", "limiters")

    def __init__(self, limiters: Sequence[Limiter], store: Store) -> None:
        self.limiters = tuple(limiters)
        self._store = store
        # What does not change between requests is looked up once.
        self._rows = tuple((limiter, limiter.limit.quota, limiter.period) for limiter in limiters)

    def try_acquire(self) -> tuple[Decision, Permit | None]:
        """Decide now, in one trip to the store.

        :returns: The decision, and the permit to release when the request has ended; ``None``
            where it is refused or no in-flight limit applies.
        """
        keys: dict[Callable[[], object], str] = {}
        checks: list[Check] = []
        asked = []
        for row in self._rows:
            limiter = row[0]
            if limiter.exempt_when is not None and limiter.exempt_when():
                continue
            key = keys.get(limiter.key)
            if key is None:
                key = keys[limiter.key] = countable(limiter.key())
            checks.append(Check(limiter.id, limiter.policy, key, limiter.current_cost()))
            asked.append(row)
        outcomes = self._store.take(checks)
        admitted = True
        verdicts = []
        for (limiter, quota, period), outcome in zip(asked, outcomes, strict=True):
            admitted = admitted and outcome.admitted
            verdicts.append(Verdict(limiter.name, quota, period, *outcome))
        return Decision(admitted, tuple(verdicts)), self._permit(checks) if admitted else None

    def _permit(self, checks: list[Check]) -> Permit | None:
        held = [check for check in checks if isinstance(check.policy, InFlightCount)]
        if not held:
            return None

        def give_back(ending: Ending) -> None:
            self._store.give_back(held)

        return Permit(give_back)
