"""Say until when the work in hand is wanted. Knows no request, no thread and no process.

The deadline is ambient: it stands in a context variable, which threads of the executors, tasks on
the loop and worker processes receive from their caller. It is one absolute instant of the
monotonic clock, which all processes of a host share. Whoever waits looks at it; whoever works for
long asks :func:`remaining` now and then. To cancel a group of tasks is to move its deadline to now:
those that cannot be stopped from outside see it, too.

The shape is that of gRPC's deadlines (https://grpc.io/docs/guides/deadlines/): whoever calls passes
the instant on, and each step waits until its own or its caller's, whichever is first.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from math import inf
from types import TracebackType
from typing import Final

from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded


class Deadline:
    """An instant that inner deadlines can only bring closer; as a block, the current one.

    :param at: Monotonic instant in seconds; infinite where only :meth:`expire` ends the time.
    :param outer: The deadline that it is inside of, which is never outlived.
    """

    __slots__ = ("_at", "_outer", "_tokens")

    def __init__(self, at: float = inf, outer: Deadline | None = None) -> None:
        self._at = at
        self._outer = outer
        self._tokens: list[Token[Deadline | None]] = []

    @property
    def at(self) -> float:
        """The instant after which nobody waits any more; infinite if there is none."""
        return self._at if self._outer is None else min(self._at, self._outer.at)

    def expire(self) -> None:
        """Let the time be up now, for everybody inside."""
        self._at = -inf

    def __enter__(self) -> Deadline:
        self._tokens.append(_current.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._tokens.pop())


_current: Final[ContextVar[Deadline | None]] = ContextVar("deadline", default=None)


def within(seconds: float | None, clock: Clock = monotonic) -> Deadline:
    """Make a deadline ``seconds`` from now, inside of the current one.

    :param seconds: ``None`` for no time of its own.
    """
    return Deadline(inf if seconds is None else clock() + seconds, _current.get())


def current_deadline() -> Deadline | None:
    """The deadline of the work in hand, if it has one."""
    return _current.get()


def expires_at() -> float | None:
    """The monotonic instant after which nobody wants the work in hand; ``None`` for none."""
    deadline = _current.get()
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
            "The deadline of this work has passed: nobody waits for it any more."
        )
