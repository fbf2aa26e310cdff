"""Publish what an app's executors and adaptive limits do, for ``concurrency status``.

Knows what is published; the form of the file is in ``status_file.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask

from flask_concurrency.flask_app.app_store import deployment
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.work.first_use import ExecutorsAtFirstUse
from flask_concurrency.stores.opening import HOST_WORKS

if TYPE_CHECKING:
    from flask_concurrency.flask_app.work.executors import AppExecutors


class StatusPublishing:
    """What is called at the first task of each executor of an app; it begins to publish, once.

    An app under test publishes nothing, nor does one where processes have no common place. Holds
    neither the app nor its executors, which hold this.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = weakref.ref(app)
        self._settings = settings
        self._publisher: Any = None
        self._limits: Callable[[], Mapping[str, Any]] = dict
        self._refused: Callable[[], Mapping[str, Any]] = dict

    def observe_limits(self, snapshots: Callable[[], Mapping[str, Any]]) -> None:
        """Publish what adaptive limits do as well; to be called before :meth:`observe`."""
        self._limits = snapshots

    def observe_refused(self, refused: Callable[[], Mapping[str, Any]]) -> None:
        """Publish who was refused lately as well; to be called before :meth:`observe`."""
        self._refused = refused

    def observe(self, executors: ExecutorsAtFirstUse) -> None:
        """Publish what these do, once they do anything."""
        app = self._app()
        if HOST_WORKS and app is not None:
            from flask_concurrency.flask_app.work.status_file import Publisher

            observed = weakref.ref(executors)
            name = deployment(app, self._settings)
            limits = self._limits
            self._publisher = Publisher(
                name, lambda: {**_snapshots_of(observed), **limits()}, refused=self._refused
            )

    def begin(self) -> None:
        """Publish from now on, in this process."""
        app = self._app()
        if self._publisher is not None and app is not None and not app.testing:
            self._publisher.begin()


def _snapshots_of(observed: weakref.ref[ExecutorsAtFirstUse]) -> Mapping[str, Any]:
    executors = observed()
    made = None if executors is None else executors.made
    if made is None:
        return {}
    made.loop.ask_for_sign()
    return snapshots(made)


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
