"""Decide which workers of this machine are alive: the kernel knows, by the locks they hold.

Each worker holds a shared lock on a file of its own, and so does each process that runs its jobs.
The lock goes with the last of them, however they end: no clock, no heartbeat, no false death while
a process is stopped. A lock that can be taken alone proves that no process is left that could
still write. Knows no job.
"""

from __future__ import annotations

import json
import os
import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from flask_concurrency.jobs.ledger import WorkerInfo

try:
    import fcntl
except ImportError:  # as on Windows, where no ledger of this kind is opened
    AVAILABLE = False
else:
    AVAILABLE = True

_FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_ID: Final = re.compile(r"\w[\w.-]*", re.ASCII)


_all_locks: weakref.WeakSet[WorkerLocks] = weakref.WeakSet()


class WorkerLocks:
    """The lock files of one ledger.

    :param directory: Made at the first worker.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, int] = {}
        self._joined: dict[str, WorkerInfo] = {}
        _all_locks.add(self)

    def join(self, worker: WorkerInfo) -> None:
        """Make a worker's file and hold it until :meth:`leave` or the end of this process."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden = self._path(f".{worker.id}")  # not found by others before it is locked
        file = os.open(hidden, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.write(file, json.dumps(asdict(worker)).encode())
            hidden.rename(self._path(worker.id))
        except BaseException:
            os.close(file)
            raise
        self._held[worker.id] = file
        self._joined[worker.id] = worker

    def hold(self, worker: str) -> bool:
        """Hold a worker's file for this process, too; whether the worker was not given up yet.

        A second call costs nothing.
        """
        if worker in self._held:
            return True
        try:
            file = os.open(self._path(worker), _FLAGS)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        if os.fstat(file).st_nlink == 0:  # given up between the two calls
            os.close(file)
            return False
        self._held[worker] = file
        return True

    def leave(self, worker: str) -> None:
        """Remove a worker's file and release its lock."""
        self._path(worker).unlink(missing_ok=True)
        self._joined.pop(worker, None)
        file = self._held.pop(worker, None)
        if file is not None:
            os.close(file)

    def forget(self) -> None:
        """Close all, in a forked child: it is neither the worker nor one of its processes."""
        for file in self._held.values():
            os.close(file)
        self._held.clear()
        self._joined.clear()

    def keep(self, worker: str) -> None:
        """Make a worker's file again that was removed; others would take the worker for dead."""
        info, file = self._joined.get(worker), self._held.get(worker)
        if info is not None and file is not None and os.fstat(file).st_nlink == 0:
            os.close(self._held.pop(worker))
            self.join(info)

    @contextmanager
    def given_up(self, worker: str) -> Iterator[bool]:
        """Keep a dead worker's file locked meanwhile, and remove it at the end.

        :returns: Whether it is dead; a file that is missing is that of a dead one.
        """
        if worker in self._held:
            yield False
            return
        try:
            file = os.open(self._path(worker), _FLAGS)
        except FileNotFoundError:
            yield True
            return
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
            self._path(worker).unlink(missing_ok=True)
        finally:
            os.close(file)

    def found(self) -> list[str]:
        """The workers that have files, alive or not."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in self._directory.iterdir() if _ID.match(path.name))
        return []

    def alive(self) -> list[WorkerInfo]:
        """What the living workers say of themselves."""
        return [info for worker in self.found() if (info := self._read(worker)) is not None]

    def note(self, worker: str, job: str) -> Path:
        """Where the process that runs a job of a worker is noted."""
        return self._path(f".{worker}+{job}")

    def notes(self, worker: str) -> list[Path]:
        """The notes of all jobs of a worker that were begun and did not end."""
        return list(self._directory.glob(f".{worker}+*"))

    def _read(self, worker: str) -> WorkerInfo | None:
        try:
            file = os.open(self._path(worker), _FLAGS)
        except FileNotFoundError:
            return None
        try:
            if worker not in self._held:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return None
            values = json.loads(os.pread(file, 1 << 20, 0))
            return WorkerInfo(**{**values, "names": tuple(values["names"])})
        except (ValueError, TypeError, KeyError):  # it is being written
            return None
        finally:
            os.close(file)

    def _path(self, worker: str) -> Path:
        return self._directory / worker


def _forget_all() -> None:
    for locks in tuple(_all_locks):
        locks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
