"""Keep jobs in one SQLite file on this machine: write-ahead log, every commit on the disk.

A transaction is as short as its statements: nothing else happens while the file is locked. Each
process opens two connections, one for reading, so that readers never wait for a writer. A forked
child opens its own and leaves those of its parent alone: closing them would tear its locks.
Knows no function and no process pool.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from flask_concurrency.jobs import fifo_wakes, worker_locks
from flask_concurrency.jobs.ledger import (
    INTERRUPTED,
    Capacity,
    Change,
    Counts,
    Filter,
    Ledger,
    Outcome,
    WorkerInfo,
    begin,
    ending,
)
from flask_concurrency.jobs.process_groups import end_group, lead_group
from flask_concurrency.jobs.record import COLUMNS, JobRecord, record_of, row_of
from flask_concurrency.jobs.sqlite_schema import check_place, check_sqlite, is_checked, make_tables
from flask_concurrency.jobs.submission import check_capacity, conflict
from flask_concurrency.jobs.worker_locks import WorkerLocks
from flask_concurrency.vocabulary.clock import Clock, monotonic, wall
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    JobsUnavailable,
)

TIMEOUT: Final = 5.0
"""Seconds a verb waits for other writers."""

NAMES_IN_ONE_QUESTION: Final = 100
"""SQLite allows 500 parts of a compound question."""

_ALL: Final = ", ".join(COLUMNS)
_INSERT: Final = f"INSERT INTO jobs({_ALL}) VALUES ({', '.join('?' * len(COLUMNS))})"
_UPDATE: Final = f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE id = ?"
_UNEXPIRED: Final = "(expires_at IS NULL OR expires_at > ?)"
_DUE: Final = (
    f"SELECT * FROM (SELECT {_ALL}, number FROM jobs WHERE status = 'queued' AND name = ? "
    "AND due_at <= ? ORDER BY due_at, number LIMIT ?)"
)

_inherited: list[object] = []
"""What a forked child must neither use nor close."""


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()


class SqliteLedger(Ledger):
    """The ledger of one machine.

    :param path: The file; made with its directory, for this user alone.
    :param app: Whose jobs they are; the file of another app is refused.
    :param capacity: How many may be queued.
    :param timeout: Seconds a verb waits for other writers.
    :param volatile: Whether the file may be in memory, as in tests.
    :param clock: Gives seconds since 1970.
    :raises ConfigurationError: SQLite is too old, or the place cannot keep anything.
    """

    def __init__(
        self,
        path: Path,
        *,
        app: str,
        capacity: Capacity = Capacity(),  # noqa: B008 # frozen
        timeout: float = TIMEOUT,
        volatile: bool = False,
        clock: Clock = wall,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            path, app=app, capacity=capacity, timeout=timeout, volatile=volatile, draw=draw
        )
        if not worker_locks.AVAILABLE:
            raise ConfigurationError(
                "Jobs in a SQLite file need file locks that end with their process (flock), which "
                "this platform lacks. Keep them in Redis."
            )
        check_sqlite()
        check_place(path, volatile=volatile)
        self.path = path
        self._files = self.files = path.with_name(f"{path.name}-files")
        self._clock = clock
        self._workers = path.with_name(f"{path.name}-workers")
        self.locks = WorkerLocks(self._workers)
        self._begin()

    def _begin(self) -> None:
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._connections: list[sqlite3.Connection] = []
        # Closes them with the ledger, since from Python 3.13 on a forgotten connection is a
        # warning. It holds them: where both are garbage of one cycle, a finalizer of the ledger
        # itself may come after theirs.
        self._forgotten = weakref.finalize(self, _close_all, self._connections)
        self._forgotten.atexit = False

    def now(self) -> float:
        """The instant of this machine's clock."""
        return self._clock()

    def insert(self, record: JobRecord) -> tuple[JobRecord, bool]:
        """Keep a new job: when this returns, it is on the disk."""
        with self._transaction() as (connection, now):
            if record.key is not None:
                found = self._keyed(connection, record, now)
                if found is not None:
                    return found, False
            self._check_capacity(connection, record.owner)
            kept = record.accepted(now)
            connection.execute(_INSERT, row_of(kept))
        self._wake_workers()
        return kept, True

    def get(self, id: str) -> JobRecord | None:
        """The job of an id; ``None`` if there is none, or no longer."""
        where = f"SELECT {_ALL} FROM jobs WHERE id = ? AND {_UNEXPIRED}"
        rows = self._read(where, (id, self._clock()))
        return record_of(rows[0]) if rows else None

    def find(self, wanted: Filter) -> list[JobRecord]:
        """Jobs, newest first."""
        where: list[str] = [_UNEXPIRED]
        values: list[Any] = [self._clock()]
        asked: dict[str, Any] = {"owner = ?": wanted.owner, "status = ?": wanted.status}
        asked["number < (SELECT number FROM jobs WHERE id = ?)"] = wanted.after
        for condition, value in asked.items():
            if value is not None:
                where.append(condition)
                values.append(value)
        rows = self._read(
            f"SELECT {_ALL} FROM jobs WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?",
            (*values, wanted.limit),
        )
        return [record_of(row) for row in rows]

    def change(self, id: str, change: Change) -> JobRecord | None:
        """Replace a record by what ``change`` makes of it, in one transaction."""
        with self._transaction() as (connection, now):
            row = connection.execute(
                f"SELECT {_ALL} FROM jobs WHERE id = ? AND {_UNEXPIRED}", (id, now)
            ).fetchone()
            before = None if row is None else record_of(row)
            after = None if before is None else change(before, now)
            if after is not None:
                connection.execute(_UPDATE, (*row_of(after), id))
        if before is None or after is None:
            return None
        if after.state.status in ("queued", before.state.status):  # to start; perhaps to cancel
            self._wake_workers()
        return after

    def claim(self, worker: str, names: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim jobs that are due, all in one transaction."""
        self._forked()
        self.locks.keep(worker)
        if not self._due(names, 1):  # a worker without work takes no lock
            return []
        claimed = []
        with self._transaction() as (connection, now):
            for record in self._due(names, limit, connection, now):
                begun = begin(record, worker, now)
                if begun is not None:
                    connection.execute(_UPDATE, (*row_of(begun), record.id))
                    claimed.append(begun)
        return claimed

    def due(self, names: Sequence[str], limit: int) -> list[JobRecord]:
        """Jobs that are due, those due first."""
        return self._due(names, limit)

    def claimed_by(self, worker: str) -> list[JobRecord]:
        """The running jobs of a worker."""
        rows = self._read(
            f"SELECT {_ALL} FROM jobs WHERE status = 'running' AND worker = ?", (worker,)
        )
        return [record_of(row) for row in rows]

    def rescue(self) -> list[JobRecord]:
        """End the attempts of workers whose lock is not held any more."""
        rescued: list[JobRecord] = []
        rows = self._read("SELECT DISTINCT worker FROM jobs WHERE status = 'running'")
        busy = {worker for (worker,) in rows}
        for worker in sorted(busy.union(self.locks.found())):
            with self.locks.given_up(worker) as dead:
                if dead:
                    for note in self.locks.notes(worker):
                        end_group(note)
                    fifo_wakes.forget(self._workers, worker)
                if dead and worker in busy:
                    rescued += self._interrupt(worker)
        if rescued:
            self._wake_workers()
        return rescued

    def purge(self, limit: int) -> int:
        """Remove expired jobs, and the files of their results."""
        rows = self._read(
            "SELECT id FROM jobs WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
            (self._clock(), limit),
        )
        if not rows:
            return 0
        with self._transaction() as (connection, now):
            connection.executemany("DELETE FROM jobs WHERE id = ? AND expires_at <= ?", [
                (id, now) for (id,) in rows
            ])  # fmt: skip
        for (id,) in rows:
            for path in self._files.glob(f"{id}.*"):
                path.unlink(missing_ok=True)
        return len(rows)

    def counts(self) -> Counts:
        """How many jobs are queued and running."""
        ((queued, running, oldest),) = self._read(
            "SELECT (SELECT jobs FROM queued WHERE owner = '*'),"
            " (SELECT count(*) FROM jobs WHERE status = 'running'),"
            " (SELECT min(due_at) FROM jobs WHERE status = 'queued' AND due_at <= ?)",
            (now := self._clock(),),
        )
        return Counts(queued, running, None if oldest is None else now - oldest)

    def changes(self) -> object:
        """SQLite's ``data_version``: it differs once any other connection has committed."""
        return self._read("PRAGMA data_version")[0][0]

    def join(self, worker: WorkerInfo) -> None:
        """Hold a lock that ends with this process and those that run its jobs."""
        self._forked()
        self.locks.join(worker)

    def leave(self, worker: str) -> None:
        """Release that lock."""
        self.locks.leave(worker)

    def waking(self, worker: str, wake: Callable[[], object]) -> AbstractContextManager[None]:
        """Call ``wake`` when there is a job to start or to cancel.

        Looks every 20 ms in its place take an idle worker 0.95 % of a core beside 0.20 %, and start
        a job after 19 ms beside 6 (``./scripts/bench job-idle job-start``).
        """
        return fifo_wakes.waking(self._workers, worker, wake)

    @contextmanager
    def entered(self, worker: str, id: str) -> Iterator[bool]:
        """Hold the worker's lock for this process, too, and lead a group of processes."""
        self._forked()
        alive = self.locks.hold(worker)
        if alive:
            lead_group(self.locks.note(worker, id))
        yield alive
        # Not after an exception: that of a process that is being ended is for others to clean up.
        self.locks.note(worker, id).unlink(missing_ok=True)

    def clean_up(self, worker: str, id: str) -> None:
        """Kill the processes of an attempt, if it had begun."""
        end_group(self.locks.note(worker, id))

    def workers(self) -> list[WorkerInfo]:
        """The workers whose locks are held."""
        return self.locks.alive()

    def check(self) -> None:
        """Refuse a file that is not ours, if there is one; nothing stays open.

        :raises ConfigurationError: It is another program's, another app's, or a newer one's.
        """
        if self.path.exists():
            with self._transaction():
                pass
            self.close()

    def close(self) -> None:
        """Close the connections of this process."""
        self._forked()
        for lock, name in ((self._writing, "_writer"), (self._reading, "_reader")):
            with lock:
                connection: sqlite3.Connection | None = getattr(self, name)
                setattr(self, name, None)
                if connection is not None:
                    self._disconnect(connection)

    def _wake_workers(self) -> None:
        fifo_wakes.wake_all(self._workers)

    def _keyed(
        self, connection: sqlite3.Connection, record: JobRecord, now: float
    ) -> JobRecord | None:
        """The job that was submitted under the same key before, unless it has expired."""
        same = "owner = ? AND name = ? AND key = ?"
        values = (record.owner, record.name, record.key)
        row = connection.execute(f"SELECT {_ALL} FROM jobs WHERE {same}", values).fetchone()
        if row is None:
            return None
        found = record_of(row)
        if found.state.expires_at is not None and found.state.expires_at <= now:
            connection.execute(f"DELETE FROM jobs WHERE {same}", values)
            return None
        if found.digest != record.digest:
            raise conflict(record)
        return found

    def _check_capacity(self, connection: sqlite3.Connection, owner: str) -> None:
        capacity = self._capacity
        counted = dict(
            connection.execute("SELECT owner, jobs FROM queued WHERE owner IN (?, '*')", (owner,))
        )
        check_capacity(capacity, counted["*"], counted.get(owner, 0) if owner else 0)

    def _due(
        self,
        names: Sequence[str],
        limit: int,
        connection: sqlite3.Connection | None = None,
        now: float | None = None,
    ) -> list[JobRecord]:
        """Jobs that are due, those due first."""
        now = self._clock() if now is None else now
        found: list[tuple[float, int, JobRecord]] = []
        for start in range(0, len(names), NAMES_IN_ONE_QUESTION):
            some = names[start : start + NAMES_IN_ONE_QUESTION]
            question = f"{' UNION ALL '.join([_DUE] * len(some))} ORDER BY due_at, number LIMIT ?"
            values = [value for name in some for value in (name, now, limit)]
            if connection is None:
                rows = self._read(question, (*values, limit))
            else:
                rows = connection.execute(question, (*values, limit)).fetchall()
            records = [record_of(row[:-1]) for row in rows]
            found += [(r.state.due_at, row[-1], r) for r, row in zip(records, rows, strict=True)]
        found.sort(key=lambda each: each[:2])
        return [record for *_, record in found[:limit]]

    def _interrupt(self, worker: str) -> list[JobRecord]:
        outcome, ended = Outcome("interrupted", error=INTERRUPTED), []
        with self._transaction() as (connection, now):
            rows = connection.execute(
                f"SELECT {_ALL} FROM jobs WHERE status = 'running' AND worker = ?", (worker,)
            ).fetchall()
            for record in map(record_of, rows):
                after = ending(record, record.state.attempt, outcome, now, self._draw())
                if after is not None:
                    connection.execute(_UPDATE, (*row_of(after), record.id))
                    ended.append(after)
        return ended

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Write: all or nothing, and on the disk at the end of the block."""
        self._forked()
        give_up_at = monotonic() + self._timeout
        if not self._writing.acquire(timeout=self._timeout):
            raise self._unavailable("another thread of this process has been writing")
        try:
            connection = self._opened_writer(give_up_at)
            self._retrying(lambda: connection.execute("BEGIN IMMEDIATE"), give_up_at)
            try:
                yield connection, self._clock()
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._unavailable(str(error)) from error
        finally:
            self._writing.release()

    def _read(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        self._forked()
        give_up_at = monotonic() + self._timeout
        if not self._reading.acquire(timeout=self._timeout):
            raise self._unavailable("another thread of this process has been reading")
        try:
            execute = (self._reader or self._opened_reader(give_up_at)).execute
            rows: list[Any] = self._retrying(
                lambda: execute(question, values).fetchall(), give_up_at
            )
            return rows
        except sqlite3.Error as error:
            raise self._unavailable(str(error)) from error
        finally:
            self._reading.release()

    def _opened_reader(self, give_up_at: float) -> sqlite3.Connection:
        """The connection that reads; it waits for a writer only if there are no tables yet."""
        if not self.path.exists():
            with self._transaction():
                pass
        connection = self._connect()
        try:
            connection.execute("PRAGMA query_only = 1")
            if not self._retrying(lambda: is_checked(connection, self.path, self._app), give_up_at):
                with self._transaction():
                    pass
        except BaseException:
            self._disconnect(connection)
            raise
        self._reader = connection
        return connection

    def _retrying(self, call: Callable[[], Any], give_up_at: float) -> Any:
        """Call what another writer may stand in the way of, for as long as there is time.

        SQLite's own waiting would hold a whole process up where threads are greenlets.
        """
        pause = 0.0005
        while True:
            try:
                return call()
            except sqlite3.OperationalError as error:
                locked = error.sqlite_errorcode & 0xFF in (
                    sqlite3.SQLITE_BUSY,
                    sqlite3.SQLITE_LOCKED,
                )
                if not locked or monotonic() >= give_up_at:
                    raise
            time.sleep(pause * (0.5 + self._draw()))
            pause = min(0.02, pause * 2)

    def _opened_writer(self, give_up_at: float) -> sqlite3.Connection:
        """The connection that writes, to the file that is at our path now."""
        if self._writer is not None:
            if self._found() != self._inode:
                # What is written to a file that was removed is lost.
                writer, reader = self._writer, self._reader
                self._writer = self._reader = None
                self._disconnect(writer)
                if reader is not None:  # it may be in use by another thread
                    _inherited.append(reader)
                    self._connections.remove(reader)
                raise self._unavailable("the file was removed or replaced while it was in use")
            return self._writer
        self._make_file()
        connection = self._connect()
        try:
            checked = self._retrying(
                lambda: is_checked(connection, self.path, self._app), give_up_at
            )
            if not checked:
                self._retrying(lambda: connection.execute("PRAGMA journal_mode = WAL"), give_up_at)
                self._retrying(lambda: connection.execute("BEGIN IMMEDIATE"), give_up_at)
                if not is_checked(connection, self.path, self._app):
                    make_tables(connection, self._app)
                connection.execute("COMMIT")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._disconnect(connection)
            raise
        self._inode = self._found()
        self._writer = connection
        return connection

    def _found(self) -> tuple[int, int] | None:
        """Which file is at our path."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _make_file(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with suppress(FileExistsError):
                os.close(os.open(self.path, flags, 0o600))
                directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
                os.fsync(directory)  # else a power cut may take the file's name
                os.close(directory)
        except OSError as error:
            raise self._unavailable(str(error)) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False
        )
        self._connections.append(connection)
        return connection

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        connection.close()
        self._connections.remove(connection)

    def _begin_in_child(self) -> None:
        """Begin anew; the parent's connections must not even be closed here."""
        self._forgotten.detach()
        _inherited.append(self._connections)
        self.locks.forget()
        self._begin()

    def _unavailable(self, why: str) -> JobsUnavailable:
        return JobsUnavailable(
            f"The jobs in {str(self.path)!r} cannot be read or written: {why.rstrip('.')}. Free "
            "disk space, or end what holds the file, and try again."
        )
