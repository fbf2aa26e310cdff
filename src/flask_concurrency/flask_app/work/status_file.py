"""Publish what the executors of this process do, for ``flask concurrency status`` in another.

Knows files and snapshots; knows neither executors nor Flask.

Each process that uses an executor keeps one small file in the private directory of its user, and
holds a lock on it. The kernel drops the lock when the process dies, however it does, so a file
without one belongs to no process, and is removed by the next that finds it. The file is rewritten
at most every two seconds, and only if something has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.runtime.timer_thread import Timekeeper, timekeeper
from flask_concurrency.stores.host.private_directory import default_directory, locked_directory
from flask_concurrency.vocabulary.clock import wall
from flask_concurrency.vocabulary.errors import StoreError

EVERY: Final = 2.0
"""Seconds between two looks at what has changed."""

_TIMEOUT: Final = 1.0
"""Seconds to wait for another process that makes its file."""

Snapshots = Callable[[], Mapping[str, Any]]
"""Gives a dataclass, or ``None``, for each executor by name."""


@dataclass(frozen=True, slots=True)
class ExecutorStatus:
    """What one process last said.

    :ivar process: Its number.
    :ivar published: Seconds since 1970.
    :ivar executors: A snapshot for each executor it has used, as a dict.
    :ivar refused: Clients that it refused lately: how often, when last, and by which limit.
    """

    process: int
    published: float
    executors: dict[str, dict[str, Any]]
    refused: dict[str, tuple[int, float, str]] = field(default_factory=dict)


class Publisher:
    """The file of this process for one app. A forked child has one of its own.

    :param name: Whose executors they are; the same for all processes of a deployment.
    :param refused: Gives the clients that were refused lately.
    :param snapshots: Asked every two seconds from :meth:`begin` on.
    :param keeper: Calls it when it is due.
    """

    def __init__(
        self,
        name: str,
        snapshots: Snapshots,
        *,
        refused: Callable[[], Mapping[str, Any]] = dict,
        keeper: Timekeeper = timekeeper,
    ) -> None:
        self._name = name
        self._snapshots = snapshots
        self._refused = refused
        self._keeper = keeper
        self._lock = threading.Lock()
        self._file: int | None = None
        self._said: object = None
        self._process: int | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        call_in_child(self, Publisher._reset_after_fork)

    def begin(self) -> None:
        """Publish from now on; costs nothing if it has begun in this process."""
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process == os.getpid():
                return
            self._process = os.getpid()
        self._again()

    def publish(self) -> None:
        """Write what there is to say, unless it was said."""
        said = {
            name: asdict(snapshot)
            for name, snapshot in self._snapshots().items()
            if snapshot is not None
        }
        refused = self._refused()
        if (said, refused) == self._said:
            return
        text = {
            "process": os.getpid(),
            "published": wall(),
            "executors": said,
            "refused": refused,
        }
        data = json.dumps(text).encode()
        with self._lock:
            if self._file is None:
                self._open()
            assert self._file is not None
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))
            self._said = said, refused

    def _again(self) -> None:
        publisher = weakref.ref(self)

        def look() -> None:
            found = publisher()
            if found is None:
                return
            with suppress(OSError, StoreError):  # a full or foreign directory: nothing is published
                found.publish()
            found._again()

        with suppress(RuntimeError):  # no thread more, and work is worth more than news of it
            self._keeper.call_after(EVERY, look)

    def _open(self) -> None:
        directory = default_directory()
        path = directory / f"{_prefix(self._name)}{os.getpid()}.json"
        with locked_directory(directory, timeout=_TIMEOUT):
            _sweep(directory)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file = file
        self._finalizer = weakref.finalize(self, _remove, file, path)

    def _reset_after_fork(self) -> None:
        """In a forked child, leave the file to the parent and close its lock."""
        self._lock = threading.Lock()
        self._said = None
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_statuses(name: str) -> list[ExecutorStatus]:
    """What all living processes of a deployment last said, by their numbers.

    :raises StoreUnavailable: The directory is not this user's alone.
    """
    directory = default_directory()
    if not directory.is_dir():
        return []
    with locked_directory(directory, timeout=_TIMEOUT):
        found = [status for path in _files(directory, name) if (status := _read(path))]
    return sorted(found, key=lambda status: status.process)


def _prefix(name: str) -> str:
    return f"executors-{hashlib.sha256(name.encode()).hexdigest()[:16]}-"


def _files(directory: Path, name: str) -> Iterator[Path]:
    return directory.glob(f"{_prefix(name)}*.json")


def _read(path: Path) -> ExecutorStatus | None:
    """What a file says; ``None``, and the file is gone, if its process is."""
    file = _open_living(path)
    if file is None:
        return None
    try:
        for _ in range(3):  # it may be being written
            with suppress(ValueError):
                return ExecutorStatus(**json.loads(os.pread(file, 1 << 20, 0)))
        return None
    finally:
        os.close(file)


def _sweep(directory: Path) -> None:
    """Remove what processes that were killed have left, of whatever deployment."""
    for path in directory.glob("executors-*.json"):
        file = _open_living(path)
        if file is not None:
            os.close(file)


def _open_living(path: Path) -> int | None:
    """Open a file whose process lives, or remove it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return file
    path.unlink(missing_ok=True)
    os.close(file)
    return None


def _remove(file: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(file)
