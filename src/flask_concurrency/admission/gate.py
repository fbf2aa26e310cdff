"""Ask all limiters of a route at once: all let the request in, or none is charged.

Knows limiters and a store; knows no Flask, no HTTP, no waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from flask_concurrency.admission.answer import Answer, Reservation
from flask_concurrency.admission.limiter import ChosenLimiter, Limiter, countable
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Decision, Verdict
from flask_concurrency.vocabulary.permit import Permit


class Gate:
    """Limiters in the order they are reported, over one store.

    :param limiters: What applies; their names and ids are unique.
    :param store: Where they count.
    :param clock: Tells how long ago something was taken.
    """

    __slots__ = ("_clock", "_rows", "_store", "limiters")

    def __init__(
        self,
        limiters: Sequence[Limiter | ChosenLimiter],
        store: Store,
        *,
        clock: Clock = monotonic,
    ) -> None:
        self.limiters = tuple(limiters)
        self._store = store
        self._clock = clock
        # What does not change between requests is looked up once.
        fixed = [limiter for limiter in limiters if isinstance(limiter, Limiter)]
        self._rows = [_row(limiter) for limiter in fixed] if len(fixed) == len(limiters) else None

    def try_acquire(self) -> Answer:
        """Decide now, in one trip to the store.

        :returns: The decision, with what has to be given back when the request ends.
        """
        keys: dict[Callable[[], object], str] = {}
        checks: list[Check] = []
        asked = []
        for row in self._rows or self._chosen_rows():
            limiter = row[0]
            if limiter.exempt_when is not None and limiter.exempt_when():
                continue
            key = keys.get(limiter.key)
            if key is None:
                key = keys[limiter.key] = countable(limiter.key())
            cost = limiter.current_cost()
            checks.append(Check(limiter.id, limiter.policy, key, cost, limiter.shadow))
            asked.append(row)
        outcomes = self._store.take(checks)
        admitted = True
        verdicts = []
        for (limiter, quota, period), outcome in zip(asked, outcomes, strict=True):
            admitted = admitted and (outcome.admitted or limiter.shadow)
            verdicts.append(Verdict(limiter.name, quota, period, *outcome, limiter.shadow))
        decision = Decision(admitted, tuple(verdicts))
        held: list[Check] = []
        reservations: list[Reservation] = []
        if admitted:
            for (limiter, _, period), check, outcome in zip(asked, checks, outcomes, strict=True):
                if not outcome.admitted:  # a shadow's refusal: it took nothing
                    continue
                if period is None:
                    held.append(check)
                elif limiter.charge_when is not None:
                    reservations.append(Reservation(limiter.charge_when, check))
        permit = Permit(lambda _: self._store.give_back(held)) if held else None
        return Answer(decision, permit, reservations, self._store, self._clock)

    def _chosen_rows(self) -> Iterator[Row]:
        names = set()
        for place in self.limiters:
            for limiter in [place] if isinstance(place, Limiter) else place.current():
                if limiter.name not in names:  # the same limit twice says nothing new
                    names.add(limiter.name)
                    yield _row(limiter)


Row = tuple[Limiter, int, float | None]


def _row(limiter: Limiter) -> Row:
    return limiter, limiter.limit.quota, limiter.period
