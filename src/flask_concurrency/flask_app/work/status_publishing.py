"""Let other processes see how the executors of an app go, once they are used.

Knows what to say of which executor; how it gets there is the bulletin's affair.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from flask_concurrency.flask_app.app_store import deployment
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.work.executors import AppExecutors
from flask_concurrency.stores.opening import HOST_WORKS


def announcer(app: Flask, settings: Settings, executors: AppExecutors) -> Callable[[], None]:
    """Make what is called whenever the executors are used; it begins to publish, once.

    An app under test publishes nothing, nor does one where processes have no common place.
    """
    if not HOST_WORKS:
        return lambda: None
    from flask_concurrency.flask_app.work.status_file import Publisher

    publisher = Publisher(deployment(app, settings), lambda: snapshots(executors))
    served = weakref.ref(app)

    def announce() -> None:
        here = served()
        if here is not None and not here.testing:
            publisher.begin()

    return announce


def snapshots(executors: AppExecutors) -> Mapping[str, Any]:
    """What each executor that was used in this process does."""
    found: dict[str, Any] = {
        "threads": executors.threads.snapshot(),
        "processes": executors.processes.snapshot(),
        "loop": executors.loop.snapshot(),
    }
    for name, executor in executors.named.made().items():
        look = getattr(executor, "snapshot", None)
        if look is not None:
            found[name] = look()
    return {name: snapshot for name, snapshot in found.items() if _was_used(snapshot)}


def _was_used(snapshot: Any) -> bool:
    counts = ("workers", "done", "failed", "cancelled", "pending", "alive")
    return any(getattr(snapshot, count, 0) for count in counts)
