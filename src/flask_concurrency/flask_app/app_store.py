"""Choose the store of an app, and open it no sooner than its first request.

Knows the app's settings and where it lives; knows nothing of what is counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import ClassVar

from flask import Flask

from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.opening import HOST_WORKS, default_uri, open_store
from flask_concurrency.stores.store import Store
from flask_concurrency.vocabulary.errors import StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.stores")


class AppStore:
    """The one store of an app, chosen when it is first asked for.

    An app says that it is being tested after ``init_app`` as often as before; and what is opened
    before a server forks its workers would be shared by accident.

    :param on_outage: Told why the store is out, each time it goes out.
    :raises ConfigurationError: The settings name a store that there is not.
    """

    make_for_tests: ClassVar[Callable[[], Store] | None] = None
    """Makes the store of every app while tests say so; see ``flask_concurrency.testing``."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        on_outage: Callable[[StoreError], object] = lambda error: None,
    ) -> None:
        self._app = weakref.ref(app)
        self._settings = settings
        self._on_outage = on_outage
        self._of_test: tuple[Callable[[], Store], Store] | None = None
        self._opened: Store | None = None if settings.store is None else self._open(settings.store)

    @property
    def uri(self) -> str:
        """The store's URI: as configured; else for tests this process's memory, else the host's."""
        if AppStore.make_for_tests is not None:
            return "memory://"
        if self._settings.store is not None:
            return self._settings.store
        app = self._app()
        return "memory://" if app is None or app.testing else default_uri()

    def settings_differ(self, settings: Settings) -> bool:
        """Whether other settings choose another store, or use it otherwise."""
        names = ("store", "namespace", "store_timeout", "on_store_failure")
        return any(getattr(settings, name) != getattr(self._settings, name) for name in names)

    def get(self) -> Store:
        """The store."""
        make = AppStore.make_for_tests
        if make is not None:
            if self._of_test is None or self._of_test[0] is not make:
                self._of_test = make, make()
            return self._of_test[1]
        self._of_test = None
        if self._opened is None:
            app = self._app()
            if not HOST_WORKS and self._settings.store is None and app and not app.testing:
                logger.warning(
                    "%r counts in each process by itself: the store that all processes of a host "
                    "share needs file locks, which this platform does not have. With one process "
                    'nothing changes; for several set CONCURRENCY_STORE to "redis://...", or to '
                    '"memory://" to silence this.',
                    app.name,
                )
            self._opened = self._open(self.uri)
        return self._opened

    def _open(self, uri: str) -> Store:
        app, settings = self._app(), self._settings
        assert app is not None
        # Different hosts may well keep the same app in different places.
        here = uri.startswith("host:")
        store = open_store(
            uri,
            namespace=deployment(app, settings) if here else settings.namespace or app.name,
            timeout=settings.store_timeout,
            on_failure=settings.on_store_failure,
        )
        if isinstance(store, FallbackStore):
            store.on_outage = self._on_outage
        return store


def deployment(app: Flask, settings: Settings) -> str:
    """What all processes of one deployment call it, and no other one on this host.

    Two deployments of one app must not share counts by accident; they live in different
    directories.
    """
    return settings.namespace or f"{app.name}|{app.root_path}"
