"""Signals of what an app will want to hear of, each sent with the app as its sender.

Like Flask's own they are blinker's, and cost next to nothing while no receiver listens. A receiver
is called on the thread on which it happened, which may be a thread of an executor, with no request
in context; it should be quick, and one that raises is logged and disturbs no other.
"""

from __future__ import annotations

from typing import Any

from blinker import NamedSignal, Namespace
from flask import Flask

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.signals")

_namespace = Namespace()

request_refused: NamedSignal = _namespace.signal("request-refused")
"""A request was refused. ``decision``, its ``route`` (template), ``environ``, ``status``."""

limit_moved: NamedSignal = _namespace.signal("limit-moved")
"""An adaptive limit has another cap. ``limit`` (its name), ``before`` and ``now``; ``None`` for no
cap."""

task_failed: NamedSignal = _namespace.signal("task-failed")
"""A task has failed. ``executor``, ``task`` (its function's name), ``error``."""

worker_killed: NamedSignal = _namespace.signal("worker-killed")
"""A worker process ended with its task. ``executor``, ``task``, and ``error``, ``None`` where the
task was cancelled."""

store_lost: NamedSignal = _namespace.signal("store-lost")
"""The store does not answer. ``error``."""


def tell(signal: NamedSignal, app: Flask | None, /, **facts: Any) -> None:
    """Send a signal, if anything listens."""
    if app is None or not signal.receivers:
        return
    for receiver in signal.receivers_for(app):
        try:
            receiver(app, **facts)
        except Exception:
            logger.exception("A receiver of %r raised", signal.name)
