"""The SQLite file in trouble: full, locked, cut, forked, removed, foreign, newer."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.jobs.conftest import worker_info

from flask_concurrency.jobs import sqlite_schema
from flask_concurrency.jobs.ledger import Capacity, Ledger, Outcome
from flask_concurrency.jobs.opening import open_ledger
from flask_concurrency.jobs.record import JobRecord, new_record
from flask_concurrency.jobs.sqlite_ledger import SqliteLedger
from flask_concurrency.vocabulary.errors import ConfigurationError, JobsUnavailable

Make = Callable[..., SqliteLedger]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "jobs.sqlite3"


@pytest.fixture
def make(path: Path) -> Iterator[Make]:
    """Open the file as another process would."""
    made: list[SqliteLedger] = []

    def open_it(**options: object) -> SqliteLedger:
        told: dict[str, object] = {"app": "shop", "volatile": True, **options}
        made.append(SqliteLedger(path, **told))  # type: ignore[arg-type]
        return made[-1]

    yield open_it
    for each in made:
        each.close()


def submit(ledger: Ledger, *args: object, **options: object) -> JobRecord:
    """Submit a job."""
    return ledger.insert(
        new_record("report", args, {}, max_arguments=100_000, **options)  # type: ignore[arg-type]
    )[0]


def test_every_commit_is_on_the_disk(make: Make) -> None:
    """8: write-ahead log, synchronized at each commit, in each process that writes."""
    ledger = make()
    submit(ledger)
    assert ledger._writer is not None
    assert ledger._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_ledger_that_is_forgotten_closes_what_it_had_open(path: Path) -> None:
    """With the app that had it; nothing is left to a finalizer of the connection."""
    ledger = SqliteLedger(path, app="shop", volatile=True)
    record = submit(ledger)
    assert ledger.get(record.id) is not None
    opened = [ledger._writer, ledger._reader]
    del ledger
    assert [is_closed(each) for each in opened] == [True, True]


def test_what_is_garbage_with_a_ledger_finds_it_closed(path: Path) -> None:
    """Finalizers of one cycle run in no order; that of a connection would warn."""
    ledger = SqliteLedger(path, app="shop", volatile=True)
    submit(ledger)
    found: list[bool] = []

    class Finalized:
        def __init__(self, ledger: SqliteLedger) -> None:
            self.ledger, self.writer = ledger, ledger._writer

        def __del__(self) -> None:
            found.append(is_closed(self.writer))

    vars(ledger)["cycle"] = Finalized(ledger)
    del ledger
    gc.collect()
    assert found == [True]


def is_closed(connection: sqlite3.Connection | None) -> bool:
    assert connection is not None
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError as error:
        return "closed" in str(error)
    return False


def test_a_log_that_was_cut_loses_nothing_before_the_cut(make: Make, path: Path) -> None:
    """8: wherever a power cut ends the log, the file is whole and holds what was there by then."""
    ledger = make()
    log = path.with_name(f"{path.name}-wal")
    kept: list[tuple[int, str]] = []
    for number in range(12):
        record = submit(ledger, number)
        kept.append((log.stat().st_size, record.id))
    whole = log.read_bytes()
    cut = path.with_name("cut.sqlite3")
    places = {size + delta for size, _ in kept for delta in (-4_120, -1, 0, 1)}
    places |= set(range(0, len(whole), len(whole) // 60))
    for place in sorted(place for place in places if place >= 0):
        shutil.copyfile(path, cut)
        cut.with_name("cut.sqlite3-wal").write_bytes(whole[:place])
        cut.with_name("cut.sqlite3-shm").unlink(missing_ok=True)
        connection = sqlite3.connect(cut)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        there: set[str] = set()
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            there = {id for (id,) in connection.execute("SELECT id FROM jobs")}
        connection.close()
        assert {id for size, id in kept if size <= place} <= there


def test_a_full_disk_accepts_nothing_it_does_not_keep(make: Make) -> None:
    """9: refused while it is full, all that was accepted is there, and with room it goes on."""
    ledger = make()
    accepted = [submit(ledger, "x" * 10_000).id]
    assert ledger._writer is not None
    (pages,) = ledger._writer.execute("PRAGMA page_count").fetchone()
    ledger._writer.execute(f"PRAGMA max_page_count = {pages + 10}")

    def fill() -> None:
        for _ in range(100):
            accepted.append(submit(ledger, "x" * 10_000).id)

    with pytest.raises(JobsUnavailable, match="disk is full"):
        fill()
    assert 1 < len(accepted) < 100
    assert all(ledger.get(id) for id in accepted)
    assert ledger.counts().queued == len(accepted)
    ledger._writer.execute("PRAGMA max_page_count = 1000000")
    assert ledger.get(submit(ledger, "x" * 10_000).id) is not None


def test_a_foreign_writer_is_waited_for_and_then_refused(make: Make, path: Path) -> None:
    """10: no longer than the timeout, for several threads at once as well; reading goes on."""
    ledger = make(timeout=0.3)
    kept = submit(ledger)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    refused: list[JobsUnavailable] = []

    def try_it() -> None:
        with pytest.raises(JobsUnavailable) as told:
            submit(ledger)
        refused.append(told.value)

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    begun_at = time.monotonic()
    for thread in threads:
        thread.start()
    assert ledger.get(kept.id) == kept
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun_at < 0.3 * 4
    assert len(refused) == 4
    foreign.execute("ROLLBACK")
    foreign.close()
    assert ledger.get(submit(ledger).id) is not None
    assert ledger.counts().queued == 2


@pytest.mark.slow
def test_a_forked_child_opens_its_own(make: Make) -> None:
    """20: parent and child go on with the same ledger, and neither sees a broken file."""
    ledger = make()
    before = submit(ledger)
    parents = ledger._writer
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            found = ledger.get(before.id) == before
            record = submit(ledger, "child")
            if found and ledger._writer is not parents:
                os.write(writing, record.id.encode())
                code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    theirs = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert ledger._writer is parents
    after = submit(ledger, "parent")
    assert all(ledger.get(id) for id in (before.id, theirs, after.id))
    connection = sqlite3.connect(ledger.path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_file_that_was_removed_takes_nothing_more(make: Make, path: Path) -> None:
    """What would be written to a file that has no name is refused; then a new one is made."""
    ledger = make()
    submit(ledger)
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    with pytest.raises(JobsUnavailable, match="removed or replaced"):
        submit(ledger)
    assert make().get(submit(ledger).id) is not None


def test_many_that_open_a_new_file_at_once_agree(tmp_path: Path) -> None:
    """One makes the tables; no other takes a file that is being made for another program's."""
    for number in range(20):
        path = tmp_path / f"{number}.sqlite3"
        ledgers = [SqliteLedger(path, app="shop", volatile=True) for _ in range(6)]
        barrier = threading.Barrier(6)
        ids: list[str] = []
        errors: list[Exception] = []

        def use(
            ledger: SqliteLedger,
            barrier: threading.Barrier = barrier,
            ids: list[str] = ids,
            errors: list[Exception] = errors,
        ) -> None:
            barrier.wait()
            try:
                ledger.counts()
                ids.append(submit(ledger).id)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=use, args=(ledger,)) for ledger in ledgers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert ledgers[0].counts().queued == len(ids) == 6
        for ledger in ledgers:
            ledger.close()


def test_a_file_that_is_made_meanwhile_is_no_foreign_one(path: Path) -> None:
    """What is read of a file to see whose it is, is read at one instant."""
    other = sqlite3.connect(path, isolation_level=None, timeout=0.0)

    class Interrupted:
        """A connection; once it has read the first of the marks, another one makes the tables."""

        def __init__(self) -> None:
            self.connection = sqlite3.connect(path, isolation_level=None)

        def execute(self, statement: str) -> sqlite3.Cursor:
            if "user_version" in statement:
                with suppress(sqlite3.OperationalError):  # it has to wait, and does
                    other.execute("PRAGMA journal_mode = WAL")
                    other.execute("BEGIN IMMEDIATE")
                    sqlite_schema.make_tables(other, "shop")
                    other.execute("COMMIT")
            return self.connection.execute(statement)

        @property
        def in_transaction(self) -> bool:
            return self.connection.in_transaction

    asking = Interrupted()
    assert sqlite_schema.is_checked(asking, path, "shop") in (True, False)  # type: ignore[arg-type]
    asking.connection.close()
    other.close()


def test_a_worker_whose_lock_was_removed_makes_it_again(make: Make) -> None:
    """Whatever cleans the directory up: what is claimed then is not taken for a dead one's."""
    ledger, other = make(), make()
    ledger.join(worker_info("w1"))
    first = submit(ledger).id
    for path in ledger.path.with_name(f"{ledger.path.name}-workers").iterdir():
        path.unlink()
    assert [each.id for each in ledger.claim("w1", ["report"], 1)] == [first]
    assert other.rescue() == []
    assert [worker.id for worker in other.workers()] == ["w1"]
    ledger.leave("w1")
    assert [each.id for each in other.rescue()] == [first]


def test_nobody_else_may_read_the_file(make: Make, path: Path) -> None:
    """The arguments of jobs are for their owners alone."""
    submit(make())
    for name in ("", "-wal", "-shm"):
        assert path.with_name(path.name + name).stat().st_mode & 0o077 == 0


def test_a_foreign_database_is_refused(make: Make, path: Path) -> None:
    """Another program's tables are left alone."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name)")
    connection.close()
    with pytest.raises(ConfigurationError, match="a database of another program"):
        make().check()


def test_what_is_no_database_is_refused(make: Make, path: Path) -> None:
    """A file of something else is left as it is."""
    path.write_text("not a database, but long enough to be taken for one\n" * 100)
    with pytest.raises(ConfigurationError, match="is no SQLite database"):
        make().check()


def test_a_newer_file_is_refused(make: Make, path: Path) -> None:
    """An older program could break it."""
    submit(make())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"by a newer Flask-Concurrency \(layout 99"):
        make().check()


def test_the_file_of_another_app_is_refused(make: Make) -> None:
    """Its workers would find jobs they do not know, and its users those of others."""
    submit(make())
    with pytest.raises(ConfigurationError, match="the jobs of the app 'shop', and this one is 'b'"):
        make(app="b").check()


def test_to_check_makes_nothing(make: Make, path: Path) -> None:
    """An app that has no jobs yet has no file."""
    make().check()
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "told"),
    [("nfs4", "on a network disk"), ("cifs", "on a network disk"), ("tmpfs", "in memory")],
)
def test_a_place_that_cannot_keep_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, told: str
) -> None:
    """Accepted means kept: not on a network, whose locks do not hold, and not in memory."""
    monkeypatch.setattr(sqlite_schema, "filesystem_of", lambda _: kind)
    with pytest.raises(ConfigurationError, match=told):
        SqliteLedger(path, app="shop")
    if kind == "tmpfs":
        SqliteLedger(path, app="shop", volatile=True)


def test_the_file_system_of_a_path_is_known() -> None:
    """Of the deepest mount above it, also where the path itself is not there yet."""
    if not Path("/proc/self/mountinfo").exists():
        pytest.skip("this platform does not tell")
    assert sqlite_schema.filesystem_of(Path("/proc/self/nothing/here")) == "proc"


def test_an_old_sqlite_is_refused() -> None:
    """The message names both versions."""
    with pytest.raises(ConfigurationError, match=r"SQLite 3\.24\.0 or newer.*has 3\.7\.17"):
        sqlite_schema.check_sqlite((3, 7, 17))


@pytest.mark.parametrize("url", ["sqlite:///", "jobs.sqlite3", "mysql://x", ""])
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    """The message says how one is written."""
    with pytest.raises(ConfigurationError, match="names no place for jobs"):
        open_ledger(url, app="shop")


def test_counters_agree_with_what_they_count(make: Make) -> None:
    """However jobs come and go, the counters of queued jobs equal their number."""
    ledger = make(capacity=Capacity(None, None))
    ledger.join(worker_info("w1"))
    for number in range(20):
        id = submit(ledger, owner=f"o{number % 3}").id
        if number % 4 == 0:
            ledger.cancel(id)
        if number % 5 == 0:
            ledger.claim("w1", ["report"], 1)
    (running, *_) = ledger.claimed_by("w1")
    ledger.end(running.id, 1, Outcome("interrupted"))
    assert ledger._writer is not None
    counted = dict(ledger._writer.execute("SELECT owner, jobs FROM queued"))
    found = dict(
        ledger._writer.execute(
            "SELECT owner, count(*) FROM jobs WHERE status = 'queued' GROUP BY owner"
        )
    )
    assert counted.pop("*") == sum(found.values())
    assert counted == found


def test_a_file_that_was_replaced_by_an_empty_one_is_not_read(make: Make, path: Path) -> None:
    """Another process makes it anew, and has not made its tables yet."""
    ledger = make()
    id = submit(ledger).id
    ledger.close()
    submit(ledger)  # nothing has been read on this connection
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    path.touch(mode=0o600)
    with pytest.raises(JobsUnavailable, match="removed or replaced"):
        ledger.get(id)
    assert ledger.get(submit(ledger).id) is not None
