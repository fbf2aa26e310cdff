"""Tell a fleet's server what this host has counted, and read what all hosts have.

Knows the server and this host's name; knows neither limits nor requests.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flask_concurrency.runtime.every_second import call_every_second
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.telemetry.exchanged import decode, encode
from flask_concurrency.telemetry.names import Totals, added_up
from flask_concurrency.vocabulary.safe_logger import SafeLogger

if TYPE_CHECKING:
    from flask_concurrency.telemetry.host_file import HostFile

logger = SafeLogger("flask_concurrency.telemetry")


class Server(Protocol):
    """Keeps bytes for each host; see :mod:`flask_concurrency.stores.redis.host_counts`."""

    def write(self, host: str, counts: bytes) -> None:
        """Keep a host's counts."""

    def read(self) -> dict[str, bytes]:
        """All hosts' counts."""

    def close(self) -> None:
        """Close its connections."""


class Fleet(NamedTuple):
    """What all hosts have counted.

    :ivar hosts: How many have, this one among them.
    :ivar totals: The numbers of all, added up by name.
    """

    hosts: int
    totals: Totals


class FleetCounts:
    """What the hosts of a fleet have counted. One process of each host writes, once a second.

    Requests never wait for the server: a thread writes, and a snapshot reads.

    :param server: Keeps what hosts have counted.
    :param directory: Where the processes of this deployment keep their files; ``None`` where this
        process counts alone, and is a host of its own.
    :param totals: What this host has counted.
    """

    def __init__(
        self, server: Server, directory: Path | None, totals: Callable[[], Totals]
    ) -> None:
        self._server = server
        self._directory = directory
        self._totals = totals
        self._file: HostFile | None = None
        self._reset()
        call_in_child(self, FleetCounts._reset_after_fork)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._process: int | None = None
        self._own_name = secrets.token_hex(16)
        self._failing = False
        self._unreadable: set[str] = set()

    def _reset_after_fork(self) -> None:
        """Leave the parent its file: a child that had it open would keep its lock alive."""
        file, self._file = self._file, None
        self._reset()
        if file is not None:
            file.close()

    def begin(self) -> None:
        """Write from now on, if no other process of this host does; a second call does nothing."""
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process == os.getpid():
                return
            try:
                call_every_second(
                    self, FleetCounts._write_or_log, self._stop, name="concurrency-fleet"
                )
            except RuntimeError as error:  # tried again with the next new kind of request
                logger.warning("Other hosts do not see what this one counts: %s", error)
            else:
                self._process = os.getpid()

    def write(self) -> bool:
        """Write what this host has counted, unless another of its processes does so.

        :returns: Whether it was written; not so after :meth:`close`.
        :raises OSError: This host has no place for its name.
        :raises StoreError: The server does not take it.
        """
        with self._lock:
            if self._stop.is_set():
                return False
            file = self._host_file()
            if file is not None and not file.hold():
                return False
            name = self._own_name if file is None else file.name()
        self._server.write(name, encode(self._totals()))
        return True

    def read(self) -> Fleet:
        """Add up what all hosts have counted: this one until now, others until a second ago.

        A host whose counts cannot be read is left out, and named in the log once.

        :raises OSError: This host has no place for its name.
        :raises StoreError: The server does not say.
        """
        with self._lock:
            file = self._host_file()
            name = self._own_name if file is None else file.name()
        parts = [self._totals()]
        for host, written in self._server.read().items():
            if host != name:
                try:
                    parts.append(decode(written))
                except ValueError as error:
                    if host not in self._unreadable:
                        logger.warning("What host %s has counted is left out: %s", host, error)
                    self._unreadable.add(host)
        return Fleet(len(parts), added_up(parts))

    def close(self) -> None:
        """Write no more, and let another process of this host do so."""
        self._stop.set()
        with self._lock:
            if self._file is not None:
                self._file.close()
        self._server.close()

    def _host_file(self) -> HostFile | None:
        if self._file is None and self._directory is not None:
            from flask_concurrency.telemetry.host_file import HostFile

            self._file = HostFile(self._directory)
        return self._file

    def _write_or_log(self) -> None:
        try:
            self.write()
            self._failing = False
        except Exception as error:
            if not self._failing:
                logger.warning("Other hosts do not see what this one counts: %s", error)
            self._failing = True
