"""A gate's answer: the decision, the permit that goes with it, and what may yet be uncharged.

Knows the store it must give back to; knows no Flask and no HTTP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flask_concurrency.admission.limiter import ChargeWhen, FinalCost, check_cost
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.grammar import MAX_QUOTA
from flask_concurrency.vocabulary.permit import Ending, Permit
from flask_concurrency.vocabulary.request_functions import truth


class PendingCharge(NamedTuple):
    """Units that were spent before the work, until the response says how many they are.

    :ivar charge_when: Says whether any are; ``None`` for always.
    :ivar final_cost: Says how many; ``None`` for as many as were spent.
    """

    charge_when: ChargeWhen | None
    final_cost: FinalCost | None
    check: Check

    def units(self, response: Any) -> int:
        """What this response costs.

        :raises ConfigurationError: ``final_cost`` gave no whole number.
        """
        if self.charge_when is not None and not truth("charge_when", self.charge_when(response)):
            return 0
        if self.final_cost is None:
            return self.check.cost
        return min(check_cost(self.final_cost(response), written="final_cost"), MAX_QUOTA)


class PendingCharges:
    """What one request has spent, until the response settles it.

    Units that depend on the response are reserved first and settled later, so that requests at the
    same time cannot all find them free.

    :param charges: What was taken, and who says whether it is charged.
    :param store: Where it was taken.
    :param clock: Measures how long ago that was.
    """

    __slots__ = ("_charges", "_clock", "_store", "_taken_at")

    def __init__(self, charges: list[PendingCharge], store: Store, clock: Clock) -> None:
        self._charges = charges
        self._store = store
        self._clock = clock
        self._taken_at = clock()

    @property
    def open(self) -> bool:
        """Whether the response still decides if something is charged."""
        return bool(self._charges)

    def settle(self, response: Any) -> None:
        """Give back what this response is not charged for, and charge what it costs beyond.

        A second call changes nothing. What is charged beyond is at most what is left. Where a
        function raises, its own units stay spent, and all others are settled.

        :raises Exception: What the first such function raised.
        """
        charges, self._charges = self._charges, []
        back, beyond = [], []
        error: Exception | None = None
        for pending in charges:
            spent = pending.check.cost
            try:
                units = pending.units(response)
            except Exception as raised:
                error = error or raised
                continue
            if units < spent:
                back.append(pending.check._replace(cost=spent - units))
            elif units > spent:
                beyond.append(pending.check._replace(cost=units - spent))
        if back:
            self._store.give_back(back, after=self._clock() - self._taken_at)
        for check in beyond:
            left = self._store.take([check._replace(cost=0)])[0].remaining
            if left > 0:
                self._store.take([check._replace(cost=min(check.cost, left))])
        if error is not None:
            raise error


class Answer:
    """The decision about one request, and what it took.

    :ivar decision: Whether it was admitted, and why.
    :ivar permit: To be released at the end; ``None`` where no in-flight limit applies.
    :ivar waited: The limit that was waited for, and how many seconds; ``None`` for none.
    :ivar refused_key: Whose count refused it; ``None`` where no client's did.
    :ivar error: What a function of a limit raised, which was not asked; to be raised if the others
        admit.
    """

    __slots__ = ("_pending", "decision", "error", "permit", "refused_key", "waited")

    def __init__(
        self,
        decision: Decision,
        permit: Permit | None = None,
        pending: PendingCharges | None = None,
    ) -> None:
        self.decision = decision
        self.permit = permit
        self._pending = pending
        self.error: Exception | None = None
        self.waited: tuple[str, float] | None = None
        self.refused_key: str | None = None

    def with_permit(self, permit: Permit) -> Answer:
        """The same, with a permit that is given back after its own."""
        own = self.permit

        def give_back(ending: Ending) -> None:
            if own is not None:
                own.release(ending)
            permit.release(ending)

        answer = Answer(self.decision, Permit(give_back), self._pending)
        answer.waited = self.waited
        return answer

    def without_permit(self) -> Answer:
        """The same without the permit, which a block or task releases by itself."""
        answer = Answer(self.decision, None, self._pending)
        answer.waited = self.waited
        return answer

    @property
    def unsettled(self) -> bool:
        """Whether the response decides if something is charged."""
        return self._pending is not None and self._pending.open

    def settle(self, response: Any) -> None:
        """Charge what this response costs; a second call changes nothing."""
        if self._pending is not None:
            self._pending.settle(response)
