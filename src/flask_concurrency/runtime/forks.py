"""Decide what a forked child does with the objects of its parent: each resets itself, once.

Knows none of them. Threads, locks and connections are the parent's after a fork: an object that has
any of them registers here how it starts anew. Where the platform has no fork nothing is called.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from flask_concurrency.vocabulary.safe_logger import SafeLogger

T = TypeVar("T")

logger = SafeLogger("flask_concurrency")

_registered: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}
_generation = 0


def call_in_child(owner: T, reset: Callable[[T], object]) -> None:
    """Have ``reset(owner)`` called in each forked child, for as long as ``owner`` lives.

    Resets run in the order of their registration, on the only thread of the child. One that raises
    is logged, and the next ones run.

    :param reset: A function that takes the object, such as its class's method. It must not be bound
        to the object, which would never be freed then.
    """
    number = id(owner)
    _registered[number] = weakref.ref(owner, lambda _: _registered.pop(number, None)), reset


def generation() -> int:
    """How many forks led from the first process to this one: what differs was made by a parent."""
    return _generation


def _reset_all() -> None:
    global _generation
    _generation += 1
    for reference, reset in tuple(_registered.values()):
        owner = reference()
        if owner is None:
            continue
        try:
            reset(owner)
        except Exception:
            logger.exception("%r was not reset after a fork; do not use it here", owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
