"""Run a call in one context that is its own, not in a copy of its caller's. Knows no thread."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

from flask_concurrency.runtime.deadline import Deadline

T = TypeVar("T")


class OwnContext:
    """The surroundings of calls that share one context, one after the other.

    :param context: Entered by each call; what one sets is there for the next.
    """

    __slots__ = ("context",)

    deadline: Deadline | None = None

    def __init__(self, context: Context) -> None:
        self.context = context

    def __call__(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Return ``fn(*args, **kwargs)``, called in the context."""
        return self.context.run(fn, *args, **kwargs)

    def report(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn``, which only logs, with the context's variables; it may be entered."""
        self.context.copy().run(fn, *args)
