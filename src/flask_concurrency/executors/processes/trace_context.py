"""Take a caller's trace along to a worker process, so that spans there have their parent.

Knows OpenTelemetry's propagators, and nothing of pools. What crosses is what they write into the
header fields of a request: the identity of trace and span, and the baggage.
"""

from __future__ import annotations

import multiprocessing.util
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from opentelemetry import context, propagate, trace

T = TypeVar("T")

_FLUSH_FIRST: Final = 100
"""Priority among what a worker does at its end: before it ends the threads that export."""
_FLUSH_WITHIN: Final = 2_000
"""Milliseconds that an exporter may take for it."""

_flushes = False


def fields_of_caller() -> dict[str, str]:
    """What names the caller's trace and span; nothing where it is in none."""
    fields: dict[str, str] = {}
    propagate.inject(fields)
    return fields


def call_in_trace(
    fields: Mapping[str, str],
    fn: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> T:
    """Call ``fn`` in the trace that the fields name."""
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
        _flushes = True
        multiprocessing.util.Finalize(None, _flush, exitpriority=_FLUSH_FIRST)


def _flush() -> None:
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(_FLUSH_WITHIN)
