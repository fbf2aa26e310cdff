"""A gate's answer: the decision, the permit that goes with it, and what may yet be uncharged.

Knows the store it must give back to; knows no Flask and no HTTP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flask_concurrency.admission.limiter import ChargeWhen
from flask_concurrency.stores.store import Check, Store
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.permit import Permit
from flask_concurrency.vocabulary.request_functions import truth


class PendingRefund(NamedTuple):
    """Units that were spent on arrival and may be given back once the response is known."""

    charge_when: ChargeWhen
    check: Check


class PendingRefunds:
    """What one request has spent and may get back.

    Units that depend on the response are reserved first and settled later, so that requests at the
    same time cannot all find them free.

    :param reservations: What was taken, and who says whether it is charged.
    :param store: Where it was taken.
    :param clock: Tells how long ago that was.
    """

    __slots__ = ("_clock", "_reservations", "_store", "_taken_at")

    def __init__(self, reservations: list[PendingRefund], store: Store, clock: Clock) -> None:
        self._reservations = reservations
        self._store = store
        self._clock = clock
        self._taken_at = clock()

    @property
    def open(self) -> bool:
        """Whether the response still decides if something is charged."""
        return bool(self._reservations)

    def settle(self, response: Any) -> None:
        """Give back what this response is not charged for; a second call changes nothing."""
        reservations, self._reservations = self._reservations, []
        free = [
            check
            for charge_when, check in reservations
            if not truth("charge_when", charge_when(response))
        ]
        if free:
            self._store.give_back(free, after=self._clock() - self._taken_at)


class Answer:
    """What one request was told, and what it took.

    :ivar decision: Whether it was let in, and why.
    :ivar permit: To be released at the end; ``None`` where no in-flight limit applies.
    :ivar error: What a function of a limit raised, which was not asked; to be raised if the others
        admit.
    """

    __slots__ = ("_pending", "decision", "error", "permit")

    def __init__(
        self,
        decision: Decision,
        permit: Permit | None = None,
        pending: PendingRefunds | None = None,
    ) -> None:
        self.decision = decision
        self.permit = permit
        self._pending = pending
        self.error: Exception | None = None

    def without_permit(self) -> Answer:
        """The same without the permit, which a block or task releases by itself."""
        return Answer(self.decision, None, self._pending)

    @property
    def unsettled(self) -> bool:
        """Whether the response decides if something is charged."""
        return self._pending is not None and self._pending.open

    def settle(self, response: Any) -> None:
        """Give back what this response is not charged for; a second call changes nothing."""
        if self._pending is not None:
            self._pending.settle(response)
