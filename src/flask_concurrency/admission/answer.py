"""A gate's answer: the decision, the permit that goes with it, and what may yet be uncharged.

Knows the store it must give back to; knows no Flask and no HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flask_concurrency.admission.limiter import ChargeWhen, FinalCost, check_cost
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Decision, Labels, Outcome
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

    :param admitted: Whether it may come in.
    :param labels: What was asked.
    :param outcomes: What came of it; one a label.
    :ivar permit: To be released at the end; ``None`` where no in-flight limit applies.
    :ivar waited: The limit that was waited for, and how many seconds; ``None`` for none.
    :ivar refused_key: Whose count refused it; ``None`` where no client's did.
    :ivar shadowed: Whether a limit that only reports would have refused it.
    :ivar error: What a function of a limit raised, which was not asked; to be raised if the others
        admit.
    """

    # Few requests have any of these: class attributes cost nothing to set.
    permit: Permit | None = None
    error: Exception | None = None
    waited: tuple[str, float] | None = None
    refused_key: str | None = None
    shadowed = False
    _pending: PendingCharges | None = None
    _decision: Decision | None = None

    def __init__(self, admitted: bool, labels: Labels, outcomes: Sequence[Outcome]) -> None:
        self.admitted = admitted
        self.labels = labels
        self.outcomes = outcomes

    @classmethod
    def of(cls, decision: Decision) -> Answer:
        """An answer that holds nothing, of a decision that no gate made."""
        answer = cls(decision.admitted, _NONE, ())
        answer._decision = decision
        return answer

    @property
    def decision(self) -> Decision:
        """Whether it was admitted, and why; made when it is first asked for.

        Most requests are only told what is left: to make their verdicts takes 1 µs
        (``bench added``).
        """
        decision = self._decision
        if decision is None:
            verdicts = self.labels.verdicts(self.outcomes)
            decision = self._decision = Decision(self.admitted, verdicts)
        return decision

    def holding(self, permit: Permit | None, pending: PendingCharges | None) -> Answer:
        """The same, with what it took."""
        self.permit = permit
        self._pending = pending
        return self

    def with_permit(self, permit: Permit) -> Answer:
        """The same, with a permit that is given back after its own."""
        own = self.permit

        def give_back(ending: Ending) -> None:
            if own is not None:
                own.release(ending)
            permit.release(ending)

        return self._again(Permit(give_back))

    def without_permit(self) -> Answer:
        """The same without the permit, which a block or task releases by itself."""
        return self._again(None)

    def _again(self, permit: Permit | None) -> Answer:
        answer = Answer(self.admitted, self.labels, self.outcomes).holding(permit, self._pending)
        answer.waited = self.waited
        answer.shadowed = self.shadowed
        answer._decision = self._decision
        return answer

    @property
    def unsettled(self) -> bool:
        """Whether the response decides if something is charged."""
        return self._pending is not None and self._pending.open

    def settle(self, response: Any) -> None:
        """Charge what this response costs; a second call changes nothing."""
        if self._pending is not None:
            self._pending.settle(response)


_NONE = Labels(())
