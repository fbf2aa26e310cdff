"""What ``deadline()`` gives: a decorator for routes, and a block for anything else.

Knows how long; what happens when the time is up is decided where a caller waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Any, TypeVar

from flask_concurrency.runtime.deadline import Deadline, enter, leave, within
from flask_concurrency.vocabulary.errors import ConfigurationError

Target = TypeVar("Target", bound=Any)


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time a request may take.

    :ivar seconds: From its arrival until its view has answered.
    :raises ConfigurationError: It is no time at all.
    """

    seconds: float

    def __post_init__(self) -> None:
        wrong = isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float)
        if wrong or not 0 < self.seconds < inf:
            raise ConfigurationError(
                f"deadline({self.seconds!r}): give seconds, more than 0, as in deadline(2.0)."
            )


class DeadlineDecorator:
    """A time limit, ready to be put on a view, a class or a blueprint, or around a block."""

    def __init__(self, limit: TimeLimit, apply: Callable[[Any], Any]) -> None:
        self._limit = limit
        self._apply = apply

    def __call__(self, target: Target) -> Target:
        """Limit the time of a view function, a ``View`` class, a method of one, or a blueprint."""
        decorated: Target = self._apply(target)
        return decorated

    def __enter__(self) -> Deadline:
        """Let what is done inside have so much time, or what is left outside if that is less."""
        deadline = within(self._limit.seconds)
        enter(self, deadline)
        return deadline

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Go back to the time outside."""
        leave(self)
