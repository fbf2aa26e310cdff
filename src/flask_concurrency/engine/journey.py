"""Follow one request from its arrival to its last byte. Knows no Flask and no HTTP."""

from __future__ import annotations

from flask_concurrency.admission.gate import Gate
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.permit import Ending, Permit


class Journey:
    """What one request was told and what it holds.

    :ivar decision: The decision taken on arrival.
    """

    __slots__ = ("_permit", "decision")

    def __init__(self, decision: Decision, permit: Permit | None) -> None:
        self.decision = decision
        self._permit = permit

    @classmethod
    def arrive(cls, gate: Gate) -> Journey:
        """Ask the gate; the journey goes on, or ends here, with what it says."""
        return cls(*gate.try_acquire())

    @property
    def holds_permit(self) -> bool:
        """Whether something must still be given back."""
        return self._permit is not None and self._permit.ending is None

    def end(self, ending: Ending) -> None:
        """Give back what the request still holds; nothing happens where it holds nothing."""
        if self._permit is not None and self._permit.ending is None:
            self._permit.release(ending)
