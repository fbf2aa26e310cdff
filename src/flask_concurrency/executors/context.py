"""Decide what a task takes along of its caller: here, a copy of the context variables.

Knows no Flask, no thread and no queue; a framework brings a carrier of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Protocol, TypeVar

from flask_concurrency.runtime.deadline import Deadline, current_deadline, forget_deadline

T = TypeVar("T")


class Captured(Protocol):
    """The surroundings of a caller at one instant, in which calls can be made later.

    One capture serves any number of calls, overlapping ones in different threads included.
    """

    @property
    def deadline(self) -> Deadline | None:
        """Until when the results are wanted, if that was said; it may yet come closer."""

    def __call__(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Return ``fn(*args, **kwargs)``, called as if in the captured surroundings."""

    def report(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn``, which only logs, with the captured context variables and nothing else."""


class Carried(Captured, Protocol):
    """What a carrier captures."""

    def detached(self) -> Captured:
        """The same for background work: no deadline, and nothing of the request."""


Carrier = Callable[[], Carried]
"""Called in the submitting thread, once per ``submit`` and once per ``map``."""


class CapturedContext:
    """A snapshot of the context variables.

    :ivar deadline: Until when the results are wanted, or ``None``.
    """

    __slots__ = ("_context", "deadline")

    def __init__(self, context: Context, deadline: Deadline | None = None) -> None:
        self._context = context
        self.deadline = deadline

    def detached(self) -> CapturedContext:
        """The same variables, the deadline excepted."""
        context = self._context.copy()
        forget_deadline(context)
        return CapturedContext(context)

    def report(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn``, which only logs, with the captured context variables."""
        self._context.copy().run(fn, *args)

    def __call__(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        # A Context can be entered by one thread at a time, so every call has a copy of its own.
        # The copy is a pointer to an immutable map, whatever the number of variables.
        context = self._context.copy()
        try:
            return context.run(fn, *args, **kwargs)
        finally:
            # The traceback of an exception keeps this frame: it shall not keep the request too.
            del self, context, args, kwargs


def capture_context() -> Carried:
    """Take along the context variables of the caller, its deadline among them."""
    return CapturedContext(copy_context(), current_deadline())
