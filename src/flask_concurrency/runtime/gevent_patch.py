"""Refuse to work where gevent has replaced threads too late. Knows no executor.

What was imported before ``gevent.monkey.patch_all()`` keeps the real locks and threads, so a
greenlet that waits for one stops every greenlet of its thread, for ever and without an error.
"""

from __future__ import annotations

import sys
from typing import Any

from flask_concurrency.vocabulary.errors import ConfigurationError


def threads_are_greenlets() -> bool:
    """Whether ``gevent.monkey`` has replaced threads."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


_at_import = threads_are_greenlets()


def refuse_late_patch() -> None:
    """Do nothing, unless threads were replaced after this library was imported.

    :raises ConfigurationError: They were.
    """
    if threads_are_greenlets() and not _at_import:
        raise ConfigurationError(
            "gevent has replaced threads after flask_concurrency was imported, so tasks would "
            "hang. Call gevent.monkey.patch_all() before any other import; in gunicorn.conf.py, "
            "import flask_concurrency inside of a hook such as post_worker_init."
        )
