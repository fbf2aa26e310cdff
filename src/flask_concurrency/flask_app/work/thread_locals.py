"""Warn of what libraries keep by thread in an app whose async views share one.

Knows which classes of which libraries do so; changes nothing.
"""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import suppress
from typing import Final

from flask_concurrency.runtime.at_exit import start_thread
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.loop")

_KEPT_BY_THREAD: Final = (
    (
        "sqlalchemy.util",
        "ThreadLocalRegistry",
        "a scoped_session of SQLAlchemy without a scopefunc",
        "Give it scopefunc=flask_concurrency.current_scope.",
    ),
    (
        "peewee",
        "_ConnectionLocal",
        "a database of peewee",
        "Give it a state that is a flask_concurrency.ScopeLocal.",
    ),
)
"""Module, class, what an object of it means, and the remedy."""


NAME: Final = "look-for-thread-locals"
"""Of the thread that looks: to look takes some ten milliseconds, which no request is to wait."""


def warn_of_thread_locals(app: str) -> None:
    """Log what is kept by thread, and how to keep it by request. Returns at once.

    :param app: Name of the app.
    """
    wanted: dict[type, tuple[str, str]] = {}
    for module, name, meaning, remedy in _KEPT_BY_THREAD:
        kept_by_thread = getattr(sys.modules.get(module), name, None)
        if kept_by_thread is not None:
            wanted[kept_by_thread] = meaning, remedy
    if wanted:
        look = threading.Thread(target=_look, args=(app, wanted), name=NAME, daemon=True)
        with suppress(RuntimeError):  # no thread more
            start_thread(look)


def _look(app: str, wanted: dict[type, tuple[str, str]]) -> None:
    # Such objects know nothing of an app, and no app of them.
    for meaning, remedy in {
        wanted[type(each)] for each in gc.get_objects() if type(each) in wanted
    }:
        logger.warning(
            "%r has %s, which is kept by thread, and async views of all requests share one: what "
            "one request has begun, another may commit. %s Or run them as Flask does: "
            "concurrency.runs_on('flask').",
            app,
            meaning,
            remedy,
        )
