"""Keep the counters of one app, from its first counted request on. Knows where its files are."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from flask_concurrency.flask_app.app_store import deployment
from flask_concurrency.flask_app.current_journey import UNROUTED
from flask_concurrency.flask_app.settings import Settings
from flask_concurrency.flask_app.telemetry.refused_clients import RefusedClients
from flask_concurrency.flask_app.telemetry.request_counting import RequestCounting
from flask_concurrency.flask_app.telemetry.signals import limit_moved, store_lost, tell
from flask_concurrency.flask_app.telemetry.task_counting import TaskCounting
from flask_concurrency.stores.opening import HOST_WORKS
from flask_concurrency.stores.redis.url import names_redis
from flask_concurrency.telemetry.counters import Counters
from flask_concurrency.telemetry.metrics import CONNECTIONS, LIMIT_DECISIONS, STORE_OUTAGES
from flask_concurrency.telemetry.names import Change, Totals
from flask_concurrency.vocabulary.errors import StoreError

if TYPE_CHECKING:
    from flask_concurrency.flask_app.telemetry.fleet_counts import Fleet, FleetCounts


class AppCounters:
    """The counters of one app.

    An app that is tested counts in its own memory, whenever it says that it is tested.

    :ivar refused_clients: Who was refused lately, by this process.
    :ivar mirror: Given whatever is counted, to count it elsewhere as well.
    :ivar begin: Called with each count of a request; what it starts, it starts once.
    :ivar requests: Counts requests; ``None`` unless a page that shows counts has asked for it.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = weakref.ref(app)
        self._settings = settings
        self._counters: Counters | None = None
        self._fleet: FleetCounts | None = None
        self._lock = threading.Lock()
        self.requests: RequestCounting | None = None
        self._adaptive: set[str] = set()
        self._task_countings: list[TaskCounting] = []
        self.refused_clients = RefusedClients()
        self.begin: Callable[[], None] = lambda: None
        self.mirror: Callable[[Iterable[Change]], object] | None = None

    def get(self) -> Counters:
        """The counters; opened with the first count."""
        self.begin()
        self._tell_fleet()
        if self._counters is None:
            with self._lock:
                if self._counters is None:
                    self._counters = Counters(self.directory())
                    self._counters.mirror = self.mirror
        return self._counters

    @property
    def counts_requests(self) -> bool:
        """Whether requests are counted."""
        return self.requests is not None

    def count_requests(self) -> None:
        """Count every request of the app from now on; a second call changes nothing."""
        if self.requests is None:
            for counting in self._task_countings:
                counting.counts = True
            self.requests = RequestCounting(
                self.get, apart=self._adaptive, refusals=self.refused_clients
            )

    def task_counting(self, executor: str) -> TaskCounting:
        """What an executor of this name calls at the end of each task."""
        counting = TaskCounting(self._app, executor, self.if_counting)
        counting.counts = self.counts_requests
        self._task_countings.append(counting)
        return counting

    def if_counting(self) -> Counters | None:
        """The counters, if the app counts anything."""
        return self.get() if self.counts_requests else None

    def look(self) -> Totals | None:
        """What all processes have counted, without becoming one of them; ``None`` for nothing."""
        if not self.counts_requests:
            return None
        directory = self.directory()
        if directory is None or self._counters is not None:
            return self.get().totals()
        from flask_concurrency.telemetry.counter_reader import CounterReader

        return CounterReader(directory).totals()

    def look_at_fleet(self) -> Fleet | None:
        """What all hosts have counted; ``None`` where no server keeps it, or nothing is counted.

        :raises StoreError: It cannot be read.
        """
        fleet = self._fleet_counts() if self.counts_requests else None
        if fleet is None:
            return None
        try:
            return fleet.read()
        except OSError as error:
            raise StoreError(f"The name of this host cannot be read: {error}") from error

    def _tell_fleet(self) -> None:
        """Have the store's server told once a second what this host has counted."""
        app = self._app()
        if self.counts_requests and app is not None and not app.testing:
            fleet = self._fleet_counts()
            if fleet is not None:
                fleet.begin()

    def _fleet_counts(self) -> FleetCounts | None:
        """What tells the server and asks it; ``None`` where hosts share no server."""
        app, settings = self._app(), self._settings
        if self._fleet is None and app is not None and names_redis(settings.store or ""):
            from flask_concurrency.flask_app.telemetry.fleet_counts import FleetCounts
            from flask_concurrency.stores.redis.host_counts import HostCounts

            assert settings.store is not None
            server = HostCounts(
                settings.store,
                namespace=settings.namespace or app.name,
                timeout=settings.store_timeout,
            )
            with self._lock:
                if self._fleet is None:
                    look = weakref.WeakMethod(self.look)  # its thread keeps no app alive
                    self._fleet = FleetCounts(server, self.directory(), partial(_looked, look))
        return self._fleet

    def close(self) -> None:
        """Tell other hosts nothing more, and let another process of this one do so."""
        if self._fleet is not None:
            self._fleet.close()

    def store_lost(self, error: Exception) -> None:
        """Count an outage of the store, and tell who listens."""
        self._count(STORE_OUTAGES.once())
        tell(store_lost, self._app(), error=error)

    def refused(self, limit: str, *, shadow: bool) -> None:
        """Count what an adaptive limit refuses, mostly before the route is known."""
        self._adaptive.add(limit)
        self._count(LIMIT_DECISIONS.once(limit, UNROUTED, "would_refuse" if shadow else "shed"))

    def moved(self, limit: str, before: int | None, now: int | None) -> None:
        """Tell who listens that an adaptive limit has another cap."""
        tell(limit_moved, self._app(), limit=limit, before=before, now=now)

    def connection_opened(self, kind: str) -> Callable[[], None]:
        """Count an event stream or a WebSocket.

        :returns: To be called when it is closed; a second call changes nothing.
        """
        self._count(CONNECTIONS.once(kind, "opened"))
        return _Opened(self, kind)

    def connection_closed(self, kind: str) -> None:
        """Count the end of one that was opened."""
        self._count(CONNECTIONS.once(kind, "closed"))

    def _count(self, change: Change) -> None:
        counters = self.if_counting()
        if counters is not None:
            counters.add([change])

    def directory(self) -> Path | None:
        """Where the files of the deployment are; ``None`` where this process counts alone."""
        app = self._app()
        if not HOST_WORKS or app is None or app.testing:
            return None
        from flask_concurrency.stores.host.private_directory import default_directory
        from flask_concurrency.stores.host.private_file import file_name

        name = file_name(deployment(app, self._settings)).rpartition(".")[0]
        return default_directory() / f"{name}.counters"


def _looked(look: weakref.WeakMethod[Callable[[], Totals | None]]) -> Totals:
    found = look()
    return (None if found is None else found()) or {}


class _Opened:
    """One connection; kept while it is open, so it takes as little as can be."""

    __slots__ = ("_counters", "_kind")

    def __init__(self, counters: AppCounters, kind: str) -> None:
        self._counters: AppCounters | None = counters
        self._kind = kind

    def __call__(self) -> None:
        """Count its end, once."""
        counters, self._counters = self._counters, None
        if counters is not None:
            counters.connection_closed(self._kind)
