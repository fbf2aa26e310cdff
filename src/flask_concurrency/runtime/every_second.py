"""Call something once a second for as long as an object lives. Knows no object but by its call."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from flask_concurrency.vocabulary.clock import wall

T = TypeVar("T")


def call_every_second(
    owner: T, call: Callable[[T], object], stop: threading.Event, *, name: str
) -> None:
    """Start a daemon thread that calls ``call(owner)`` when each second of the wall clock begins.

    :param owner: Not kept alive while the thread waits; the thread ends once it is gone.
    :param call: Must not raise.
    :param stop: Ends the thread when it is set.
    :param name: Of the thread.
    :raises RuntimeError: There can be no thread more.
    """
    threading.Thread(
        target=_run, args=(weakref.ref(owner), call, stop), name=name, daemon=True
    ).start()


def _run(found: weakref.ref[T], call: Callable[[T], object], stop: threading.Event) -> None:
    while not stop.wait(1.0 - wall() % 1.0):
        owner = found()
        if owner is None:
            return
        call(owner)
        del owner
