"""Say until when the work in hand is wanted. Knows no request, no thread and no process.

The deadline is ambient: it stands in a context variable, which threads of the executors, tasks on
the loop and worker processes receive from their caller. It is one absolute instant of the
monotonic clock, which all processes of a host share. Code that waits looks at it; code that
works for long asks :func:`remaining` now and then. To cancel a group of tasks is to move its
deadline to now: those that cannot be stopped from outside see it, too.

The shape is that of gRPC's deadlines (https://grpc.io/docs/guides/deadlines/): a caller passes
the instant on, and each step waits until its own or its caller's, whichever is first.
"""

from __future__ import annotations

from contextvars import Context, ContextVar
from math import inf
from types import TracebackType
from typing import Final, NamedTuple

from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded


class Deadline:
    """An instant that inner deadlines can only bring closer; as a block, the current one.

    One deadline may be entered by many threads and tasks at once, and again inside itself.

    :param at: Monotonic instant in seconds; infinite where only :meth:`expire` ends the time.
    :param outer: The deadline that it is inside of, which is never outlived.
    """

    __slots__ = ("_at", "_outers")

    def __init__(self, at: float = inf, outer: Deadline | None = None) -> None:
        self._at = at
        self._outers: tuple[Deadline, ...] = () if outer is None else (outer,)

    @property
    def at(self) -> float:
        """The instant after which the work is wanted no more; infinite if there is none."""
        at = self._at
        for outer in self._outers:
            at = min(at, outer.at)
        return at

    def expire(self) -> None:
        """Let the time be up now, for all work inside."""
        self._at = -inf

    def __enter__(self) -> Deadline:
        enter(self, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave(self)

    def brought_into(self, other: Deadline) -> Deadline:
        """A deadline that outlives neither this one nor ``other``: this one, if it does not."""
        if self.is_inside(other):
            return self
        both = Deadline(outer=self)
        both._outers += (other,)
        return both

    def is_inside(self, other: Deadline) -> bool:
        """Whether it ends when ``other`` does, at the latest."""
        return self is other or any(outer.is_inside(other) for outer in self._outers)


class _Entered(NamedTuple):
    """A block that was entered. Each context has a chain of its own, so none can be left twice."""

    block: object
    deadline: Deadline
    before: _Entered | None


_entered: Final[ContextVar[_Entered | None]] = ContextVar("deadline", default=None)


def enter(block: object, deadline: Deadline) -> None:
    """Make ``deadline`` the current one until :func:`leave`, in the same context.

    It may have been made elsewhere; it never outlives what it is entered in.

    :param block: Whatever stands for the block; it may be entered in many contexts at once.
    """
    entered = _entered.get()
    inner = deadline if entered is None else deadline.brought_into(entered.deadline)
    _entered.set(_Entered(block, inner, entered))


def leave(block: object) -> None:
    """Go back to the deadline around a block."""
    entered = _entered.get()
    while entered is not None and entered.block is not block:
        entered = entered.before  # a block inside that was never left, as in a generator
    if entered is not None:
        _entered.set(entered.before)


def within(seconds: float | None, clock: Clock = monotonic) -> Deadline:
    """Make a deadline ``seconds`` from now, inside of the current one.

    :param seconds: ``None`` for no time of its own.
    """
    return Deadline(inf if seconds is None else clock() + seconds, current_deadline())


def current_deadline() -> Deadline | None:
    """The deadline of the work in hand, if it has one."""
    entered = _entered.get()
    return None if entered is None else entered.deadline


def forget_deadline(context: Context) -> None:
    """Let the work of ``context`` have no deadline: no caller waits for it."""
    context.run(_entered.set, None)


def expires_at() -> float | None:
    """The monotonic instant after which the work in hand is wanted no more; ``None`` for none."""
    deadline = current_deadline()
    if deadline is None:
        return None
    at = deadline.at
    return None if at == inf else at


def remaining(clock: Clock = monotonic) -> float | None:
    """Seconds that are left for the work in hand: ``0.0`` if its time is up.

    Made for timeouts: ``requests.get(url, timeout=remaining())``. In tasks of threads and worker
    processes it is the time of the request that wants their result.

    :returns: ``None`` where there is no deadline.
    """
    at = expires_at()
    return None if at is None else max(0.0, at - clock())


def check_deadline(clock: Clock = monotonic) -> None:
    """Do nothing while there is time, for loops that would rather stop than work in vain.

    :raises DeadlineExceeded: The time is up.
    """
    if remaining(clock) == 0.0:
        raise DeadlineExceeded(
            "The deadline of this work has passed: its result is needed no more."
        )
