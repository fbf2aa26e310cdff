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


class Reservation(NamedTuple):
    """Units that were spent on arrival and may be given back once the response is known."""

    charge_when: ChargeWhen
    check: Check


class Tab:
    """What one request has taken and may not have to pay for.

    Units that depend on the response are reserved first and settled later, so that requests at the
    same time cannot all find them free.

    :param reservations: What was taken, and who says whether it is charged.
    :param store: Where it was taken.
    :param clock: Tells how long ago that was.
    """

    __slots__ = ("_clock", "_reservations", "_store", "_taken_at")

    def __init__(self, reservations: list[Reservation], store: Store, clock: Clock) -> None:
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
        free = [check for charge_when, check in reservations if not charge_when(response)]
        if free:
            self._store.give_back(free, after=self._clock() - self._taken_at)


class Answer:
    """What one request was told, and what it took.

    :ivar decision: Whether it was let in, and why.
    :ivar permit: To be released at the end; ``None`` where no in-flight limit applies.
    """

    __slots__ = ("_tab", "decision", "permit")

    def __init__(
        self, decision: Decision, permit: Permit | None = None, tab: Tab | None = None
    ) -> None:
        self.decision = decision
        self.permit = permit
        self._tab = tab

    def without_permit(self) -> Answer:
        """The same for a request that tells of it, while somebody else gives the permit back."""
        return Answer(self.decision, None, self._tab)

    @property
    def unsettled(self) -> bool:
        """Whether the response decides if something is charged."""
        return self._tab is not None and self._tab.open

    def settle(self, response: Any) -> None:
        """Give back what this response is not charged for; a second call changes nothing."""
        if self._tab is not None:
            self._tab.settle(response)
