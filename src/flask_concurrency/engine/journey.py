"""Follow one request from its arrival to its last byte. Knows no Flask and no HTTP."""

from __future__ import annotations

from typing import Any

from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import Gate
from flask_concurrency.runtime.deadline import Deadline, within
from flask_concurrency.vocabulary.decision import Decision
from flask_concurrency.vocabulary.permit import Ending, Permit

NOT_ASKED = Decision(True, ())
"""The decision on a request without limits."""


class Journey:
    """What one request was answered and what it holds.

    :ivar route: The template of its route, once that is known and of interest.
    :ivar began_at: When it arrived, until it is counted; ``None`` where it is not to be.
    :ivar answers: What the gates asked so far have said.
    :ivar overdue: Whether it was given up because its deadline had passed.
    :ivar has_anything_to_end: Whether anything is held or timed.
    :ivar called: What was asked where a decorator stands; each is asked once in a request.
    :ivar ended: Whether it holds nothing that :meth:`end` has not given back.
    :ivar ended_by_middleware: Whether the middleware will call :meth:`end`.
    """

    # Every request makes one and most have no limit: class attributes cost nothing to set.
    route = ""
    began_at: float | None = None
    answers: tuple[Answer, ...] = ()
    _decided: Decision | None = None
    _deadline: Deadline | None = None
    _held: Permit | None = None
    ended = False
    overdue = False
    has_anything_to_end = False
    ended_by_middleware = True
    called: tuple[Gate, ...] = ()

    def start_clock(self, seconds: float) -> None:
        """Let the request have so many seconds, until :meth:`stop_clock` in the same context."""
        self.has_anything_to_end = True
        self._deadline = within(seconds).__enter__()

    def stop_clock(self) -> None:
        """Forget the deadline, once the view has answered: what is sent may take its time."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.__exit__(None, None, None)

    def ask(self, gate: Gate) -> Answer:
        """Ask a gate, waiting where it lets requests wait, and hold what it grants to the end.

        What a function of a limit raised is raised here, once all other limits were asked.
        """
        answer = gate.acquire()
        if self.answers or answer.permit is not None:
            self.join(answer)
        else:  # most requests ask once and hold nothing
            self.answers = (answer,)
        if answer.error is not None and answer.admitted:
            raise answer.error
        return answer

    def join(self, answer: Answer) -> None:
        """Add an answer to the journey, which then ends with it."""
        self.answers = (*self.answers, answer) if self.answers else (answer,)
        self._decided = None
        if answer.permit is not None:
            self.ended = False
            self.has_anything_to_end = True

    @property
    def decision(self) -> Decision:
        """What every gate asked so far has said, as one; made when it is first asked for."""
        decision = self._decided
        if decision is None:
            if not self.answers:  # not to be kept: something may be asked yet
                return NOT_ASKED
            decision = self.answers[0].decision
            for answer in self.answers[1:]:
                decision = _both(decision, answer.decision)
            self._decided = decision
        return decision

    def hold(self, permit: Permit) -> None:
        """Release a permit at the end that no answer goes with."""
        held = self._held
        if held is not None:
            permit = _joined(held, permit)
        self._held = permit
        self.ended = False
        self.has_anything_to_end = True

    @property
    def waits(self) -> list[tuple[str, float]]:
        """The limits it has waited for, and how many seconds."""
        return [answer.waited for answer in self.answers if answer.waited is not None]

    @property
    def refused_key(self) -> str | None:
        """Whose count refused it; ``None`` where no client's did, or none was asked."""
        for answer in self.answers:
            if answer.refused_key is not None:
                return answer.refused_key
        return None

    @property
    def holds_permit(self) -> bool:
        """Whether something must still be given back."""
        if self._held is not None and self._held.ending is None:
            return True
        for answer in self.answers:
            if answer.permit is not None and answer.permit.ending is None:
                return True
        return False

    @property
    def unsettled(self) -> bool:
        """Whether the response decides if something is charged."""
        return any(answer.unsettled for answer in self.answers)

    def settle(self, response: Any) -> None:
        """Give back what this response is not charged for."""
        for answer in self.answers:
            answer.settle(response)

    def end(self, ending: Ending) -> None:
        """Give back what the request still holds; nothing happens where it holds nothing."""
        if self.ended:
            return
        self.ended = True
        if self.overdue:
            ending = Ending.DROPPED
        for answer in self.answers:
            if answer.permit is not None and answer.permit.ending is None:
                answer.permit.release(ending)
        if self._held is not None and self._held.ending is None:
            self._held.release(ending)


def _joined(one: Permit, other: Permit) -> Permit:
    def release(ending: Ending) -> None:
        other.release(ending)
        one.release(ending)

    return Permit(release)


def _both(before: Decision, now: Decision) -> Decision:
    """Two decisions as one; of a limit that was asked twice, as by a block, the later verdict."""
    names = {verdict.name for verdict in now.verdicts}
    kept = tuple(verdict for verdict in before.verdicts if verdict.name not in names)
    still = Decision(before.admitted, kept)
    taken_back = bool(before.refusing) and not still.refusing
    return Decision(now.admitted and (before.admitted or taken_back), kept + now.verdicts)
