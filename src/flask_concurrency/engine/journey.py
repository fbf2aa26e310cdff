"""Follow one request from its arrival to its last byte. Knows no Flask and no HTTP."""

from __future__ import annotations

from typing import Any

from flask_concurrency.admission.gate import Gate
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.permit import Ending


class Journey:
    """What one request was told and what it holds.

    :ivar decision: What it was told: on arrival, and by every limit asked since.
    """

    __slots__ = ("_answers", "decision")

    def __init__(self, gate: Gate) -> None:
        answer = gate.try_acquire()
        self._answers = [answer]
        self.decision = answer.decision

    def ask(self, gate: Gate) -> Decision:
        """Ask another gate on the way, and hold what it grants until the end."""
        answer = gate.try_acquire()
        self._answers.append(answer)
        self.decision = Decision(
            self.decision.admitted and answer.decision.admitted,
            self.decision.verdicts + answer.decision.verdicts,
        )
        return answer.decision

    @property
    def holds_permit(self) -> bool:
        """Whether something must still be given back."""
        for answer in self._answers:
            if answer.permit is not None and answer.permit.ending is None:
                return True
        return False

    @property
    def unsettled(self) -> bool:
        """Whether the response decides if something is charged."""
        return any(answer.unsettled for answer in self._answers)

    def settle(self, response: Any) -> None:
        """Give back what this response is not charged for."""
        for answer in self._answers:
            answer.settle(response)

    def end(self, ending: Ending) -> None:
        """Give back what the request still holds; nothing happens where it holds nothing."""
        for answer in self._answers:
            if answer.permit is not None and answer.permit.ending is None:
                answer.permit.release(ending)
