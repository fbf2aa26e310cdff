"""Decide what the file of the SQLite ledger looks like, and refuse one that is not ours to use.

``user_version`` counts the layout: a newer one is refused, since an older program could break it.
Knows no verb of the ledger.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from flask_concurrency.jobs.record import COLUMNS
from flask_concurrency.vocabulary.errors import ConfigurationError

VERSION: Final = 1
OLDEST: Final = (3, 24, 0)
"""The first SQLite with ``ON CONFLICT DO UPDATE``."""
APPLICATION: Final = 0x464C434A
"""``FLCJ``: what ``file`` and SQLite find in the header of our files."""

NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"}
    | {"fuse.glusterfs", "fuse.s3fs", "lustre", "gpfs", "beegfs"}
)
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})

_TYPES: Final = {
    "id": "TEXT NOT NULL UNIQUE",
    "due_at": "REAL NOT NULL",
    "created_at": "REAL NOT NULL",
    "started_at": "REAL",
    "ended_at": "REAL",
    "expires_at": "REAL",
    "attempt": "INTEGER NOT NULL",
    "errors": "INTEGER NOT NULL",
    "interruptions": "INTEGER NOT NULL",
    "cancel_requested": "INTEGER NOT NULL",
    "version": "INTEGER NOT NULL",
    **dict.fromkeys(("key", "worker", "result", "progress", "error"), "TEXT"),
}

# Counters, since to count 10,000 queued jobs at each submit would take longer than to keep them.
_COUNT: Final = """
INSERT INTO queued(owner, jobs) VALUES ({row}.owner, 1)
  ON CONFLICT(owner) DO UPDATE SET jobs = jobs + 1;
INSERT INTO queued(owner, jobs) VALUES ('*', 1)
  ON CONFLICT(owner) DO UPDATE SET jobs = jobs + 1;
"""
_UNCOUNT: Final = """
UPDATE queued SET jobs = jobs - 1 WHERE owner IN ({row}.owner, '*');
DELETE FROM queued WHERE owner = {row}.owner AND jobs = 0;
"""

SCHEMA: Final = f"""
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  {", ".join(f"{name} {_TYPES.get(name, 'TEXT NOT NULL')}" for name in COLUMNS)}
);
CREATE UNIQUE INDEX jobs_key ON jobs(owner, name, key) WHERE key IS NOT NULL;
CREATE INDEX jobs_due ON jobs(name, due_at, number) WHERE status = 'queued';
CREATE INDEX jobs_running ON jobs(worker) WHERE status = 'running';
CREATE INDEX jobs_owner ON jobs(owner, number);
CREATE INDEX jobs_expired ON jobs(expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE queued (owner TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO queued VALUES ('*', 0);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER queued_insert AFTER INSERT ON jobs WHEN new.status = 'queued'
  BEGIN {_COUNT.format(row="new")} END;
CREATE TRIGGER queued_begin AFTER UPDATE OF status ON jobs
  WHEN new.status = 'queued' AND old.status <> 'queued' BEGIN {_COUNT.format(row="new")} END;
CREATE TRIGGER queued_end AFTER UPDATE OF status ON jobs
  WHEN new.status <> 'queued' AND old.status = 'queued' BEGIN {_UNCOUNT.format(row="old")} END;
CREATE TRIGGER queued_delete AFTER DELETE ON jobs WHEN old.status = 'queued'
  BEGIN {_UNCOUNT.format(row="old")} END;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""


def check_place(path: Path, *, volatile: bool = False) -> None:
    """Refuse a place that cannot keep what was accepted. Linux only; elsewhere all pass.

    :param volatile: Whether memory will do, as in tests.
    :raises ConfigurationError: It is on a network, or in memory.
    """
    kind = filesystem_of(path)
    if kind in NETWORK:
        raise ConfigurationError(
            f"The jobs cannot be kept in {str(path)!r}: it is on a network disk ({kind}), where "
            "SQLite's locks do not hold. Put it on a disk of this machine, or use Redis."
        )
    if kind in VOLATILE and not volatile:
        raise ConfigurationError(
            f"The jobs cannot be kept in {str(path)!r}: it is in memory ({kind}), gone at the next "
            "reboot. Put it on a disk."
        )


def filesystem_of(path: Path) -> str | None:
    """The kind of file system a path is or would be on; ``None`` if that is not known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    real = path.resolve()
    best, kind = -1, None
    for line in lines:
        before, _, after = line.partition(" - ")
        try:
            mount = Path(before.split()[4].encode().decode("unicode_escape"))
            if real.is_relative_to(mount) and len(mount.parts) >= best:
                best, kind = len(mount.parts), after.split()[0]
        except (IndexError, ValueError):
            continue
    return kind


def make_tables(connection: sqlite3.Connection, app: str) -> None:
    """Make the tables of an empty file. Within a transaction."""
    for statement in _statements():
        connection.execute(statement)
    connection.execute("INSERT INTO facts VALUES ('app', ?)", (app,))


def is_checked(connection: sqlite3.Connection, path: Path, app: str) -> bool:
    """Whether the tables are there and ours; not if the file is empty. Only reads, at one instant.

    Another process may be making the tables: half of the old state and half of the new one would
    look like another program's.

    :param app: Whose jobs they are.
    :raises ConfigurationError: The file is another program's, another app's, or a newer one's.
    """
    if connection.in_transaction:
        return _is_checked(connection, path, app)
    connection.execute("BEGIN")
    try:
        return _is_checked(connection, path, app)
    finally:
        connection.execute("ROLLBACK")


def _is_checked(connection: sqlite3.Connection, path: Path, app: str) -> bool:
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        raise ConfigurationError(
            f"{str(path)!r} is no SQLite database. Choose a file for the jobs alone."
        ) from None
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and application in (0, APPLICATION):
        return False
    if application != APPLICATION:
        raise ConfigurationError(
            f"{str(path)!r} is a database of another program. Choose a file for the jobs alone."
        )
    if version > VERSION:
        raise ConfigurationError(
            f"{str(path)!r} was written by a newer Flask-Concurrency (layout {version}; this one "
            f"knows {VERSION}). Update this one, or choose another file."
        )
    (owner,) = connection.execute("SELECT value FROM facts WHERE name = 'app'").fetchone()
    if owner != app:
        raise ConfigurationError(
            f"{str(path)!r} holds the jobs of the app {owner!r}, and this one is {app!r}. Give "
            "each its own file; or the same CONCURRENCY_NAMESPACE, if they are one app."
        )
    return True


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Refuse a SQLite that is too old.

    :raises ConfigurationError: Naming both versions.
    """
    if version < OLDEST:
        raise ConfigurationError(
            f"Jobs need SQLite {'.'.join(map(str, OLDEST))} or newer, and this Python has "
            f"{'.'.join(map(str, version))}. Use a newer Python, or Redis."
        )


def _statements() -> list[str]:
    """The statements of the schema; triggers hold semicolons of their own."""
    found, text = [], ""
    for piece in SCHEMA.split(";"):
        text += f"{piece};"
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return found
