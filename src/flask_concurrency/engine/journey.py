"""Follow one request from its arrival to its last byte. Knows no Flask and no HTTP."""

from __future__ import annotations

from typing import Any

from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import Gate
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.permit import Ending

NOT_ASKED = Decision(True, ())
"""What a request is told that meets no limit."""


class Journey:
    """What one request was told and what it holds.

    :param decision: What it was told without asking, if it was.
    :ivar decision: What every gate asked so far has said, as one.
    """

    __slots__ = ("_answers", "decision")

    def __init__(self, decision: Decision = NOT_ASKED) -> None:
        self._answers: tuple[Answer, ...] = ()
        self.decision = decision

    def ask(self, gate: Gate) -> Decision:
        """Ask a gate, waiting where it lets requests wait, and hold what it grants to the end."""
        answer = gate.acquire()
        self.join(answer)
        return answer.decision

    def join(self, answer: Answer) -> None:
        """Add an answer to the journey, which then ends with it."""
        told = answer.decision
        if self._answers:
            admitted = self.decision.admitted and told.admitted
            told = Decision(admitted, self.decision.verdicts + told.verdicts)
        self._answers += (answer,)
        self.decision = told

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
