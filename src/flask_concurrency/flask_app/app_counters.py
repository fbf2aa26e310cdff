"""Keep the counters of one app, from its first counted request on. Knows where its files are."""

from __future__ import annotations

import threading
import weakref

from flask import Flask

from flask_concurrency.flask_app.app_store import deployment
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.telemetry.request_counting import RequestCounting
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.telemetry.counters import Counters


class AppCounters:
    """The counters of one app.

    An app that is tested counts in its own memory, whenever it says that it is tested.

    :ivar counts_requests: Whether requests are counted; a page that shows counts asks for it.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = weakref.ref(app)
        self._settings = settings
        self._counters: Counters | None = None
        self._lock = threading.Lock()
        self.counts_requests = False

    def get(self) -> Counters:
        """The counters; opened with the first count."""
        if self._counters is None:
            with self._lock:
                if self._counters is None:
                    self._counters = self._make()
        return self._counters

    def count_requests(self) -> None:
        """Count every request of the app from now on; a second call changes nothing."""
        app = self._app()
        if app is not None and not self.counts_requests:
            self.counts_requests = True
            app.wsgi_app = RequestCounting(app.wsgi_app, self.get)  # type: ignore[method-assign]

    def _make(self) -> Counters:
        app = self._app()
        if not HOST_WORKS or app is None or app.testing:
            return Counters(None)
        from flask_concurrency.stores.host.private_directory import default_directory
        from flask_concurrency.stores.host.private_file import file_name

        name = file_name(deployment(app, self._settings)).rpartition(".")[0]
        return Counters(default_directory() / f"{name}.counters")
