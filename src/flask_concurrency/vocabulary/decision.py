"""What came of a request for admission: one verdict a policy, one decision a stage.

Plain records; they know neither how they were computed nor how HTTP spells them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Outcome(NamedTuple):
    """What one policy decides about one request.

    :ivar admitted: Whether this policy lets the request in.
    :ivar remaining: Whole units left after the request (before it, where it is refused).
    :ivar retry_after: Seconds until the same request would be admitted; ``0.0`` if it is now,
        ``None`` if it cannot be known (an in-flight limit) or never will be (cost above quota).
    :ivar reset_after: Seconds until more units are left than now; ``None`` if it cannot be known.
    """

    admitted: bool
    remaining: int
    retry_after: float | None
    reset_after: float | None


class Verdict(NamedTuple):
    """One policy's outcome, with the words to report it.

    :ivar name: The limit's name, such as ``"route:5/minute"``; unique within a decision.
    :ivar quota: Units allowed, per ``period`` or at once.
    :ivar period: Seconds of a rate's period; ``None`` for an in-flight limit.
    :ivar admitted: See :class:`Outcome`, likewise ``remaining`` and the instants.
    :ivar shadow: Whether a refusal is only reported.
    :ivar per_client: Whether it limits each client, who can do something about it; not, if it
        counts all requests together.
    """

    name: str
    quota: int
    period: float | None
    admitted: bool
    remaining: int
    retry_after: float | None
    reset_after: float | None
    shadow: bool = False
    per_client: bool = True


class Label(NamedTuple):
    """What every verdict of a limit says, whatever is decided: see :class:`Verdict`."""

    name: str
    quota: int
    period: float | None
    shadow: bool
    per_client: bool


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The labels of the limits of a gate.

    Equal to itself alone, so that what was made of it once is found again at once.

    :ivar each: In the order of the limits.
    """

    each: tuple[Label, ...]

    def verdicts(self, outcomes: Iterable[Outcome]) -> tuple[Verdict, ...]:
        """The verdicts of these outcomes, one a label."""
        return tuple(
            Verdict(name, quota, period, *outcome, shadow, per_client)
            for (name, quota, period, shadow, per_client), outcome in zip(
                self.each, outcomes, strict=True
            )
        )


class Decision(NamedTuple):
    """Whether a request may come in, with every policy's reasons.

    All or nothing: a refused request spent nothing of any policy.

    :ivar admitted: Whether all policies admit, shadows apart.
    :ivar verdicts: One :class:`Verdict` a policy, in the order they were checked.
    """

    admitted: bool
    verdicts: tuple[Verdict, ...]

    @property
    def refusing(self) -> tuple[Verdict, ...]:
        """The verdicts that refuse; empty for an admitted request."""
        return tuple(v for v in self.verdicts if not v.admitted and not v.shadow)

    @property
    def quota_exceeded(self) -> bool:
        """Whether a client's own limit refuses; else it is the server that is busy."""
        return any(verdict.per_client for verdict in self.refusing)

    @property
    def retry_after(self) -> float | None:
        """Seconds until no rate refuses any more; ``None`` if it cannot be known."""
        waits = [v.retry_after for v in self.refusing if v.retry_after is not None]
        return max(waits, default=None)
