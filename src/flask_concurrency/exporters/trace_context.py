"""Take a caller's trace along to a worker process, so that spans there have their parent.

Knows OpenTelemetry's propagators, and nothing of pools and of Flask. What crosses is what they
write into the header fields of a request: the identity of trace and span, and the baggage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")

CallInTrace = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

_FLUSH_FIRST: Final = 100
"""Priority among what a worker does at its end: before it ends the threads that export."""

_FLUSH_WITHIN: Final = 2_000
"""Milliseconds that an exporter may take for it."""

_flushes = False


def trace_of_caller() -> CallInTrace | None:
    """What makes a call in the caller's trace, in any process; ``None`` where there is none.

    An app that does not use OpenTelemetry pays one look, and imports nothing.
    """
    if "opentelemetry.context" not in sys.modules:
        return None
    from opentelemetry import propagate

    fields: dict[str, str] = {}
    propagate.inject(fields)
    return partial(call_in_trace, fields) if fields else None


def call_in_trace(
    fields: Mapping[str, str],
    fn: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> T:
    """Call ``fn`` in the trace that the fields name."""
    from opentelemetry import context, propagate

    _flush_at_the_end()
    token = context.attach(propagate.extract(fields))
    try:
        return fn(*args, **kwargs)
    finally:
        context.detach(token)


def _flush_at_the_end() -> None:
    """Export what was recorded before the process ends: workers call no ``atexit`` functions."""
    global _flushes
    if not _flushes:
        import multiprocessing.util

        _flushes = True
        multiprocessing.util.Finalize(None, _flush, exitpriority=_FLUSH_FIRST)


def _flush() -> None:
    from opentelemetry import trace

    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(_FLUSH_WITHIN)
