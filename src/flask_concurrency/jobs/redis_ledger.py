"""Keep jobs on a Redis or Valkey server, for workers on several machines.

Each verb is one script, or a reading and one script that acts only if nothing has changed since:
what becomes of a job is the same arithmetic as in a file. There is no kernel to ask whether a
worker on another machine lives, so a running job has a lease, which its worker renews; the server's
clock decides, and the number of the attempt fences a worker that was only slow.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from flask_concurrency.jobs import redis_wakes
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
from flask_concurrency.jobs.record import JobRecord, record_of, row_of
from flask_concurrency.jobs.submission import conflict
from flask_concurrency.stores.redis.client import ScriptClient
from flask_concurrency.stores.redis.scripts import Script
from flask_concurrency.stores.redis.url import read_url
from flask_concurrency.vocabulary.clock import Clock
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    JobsUnavailable,
    StoreError,
    TooManyJobs,
)
from flask_concurrency.vocabulary.safe_logger import SafeLogger

TIMEOUT: Final = 2.0
LEASE: Final = 30.0
BEATS_PER_LEASE: Final = 5
TRIES: Final = 200
"""How often a change is tried again that others come before; each time at least one succeeds."""

logger: Final = SafeLogger("flask_concurrency.jobs")


class RedisLedger(Ledger):
    """The ledger of several machines.

    :param url: Where the server is.
    :param app: Whose jobs they are.
    :param lease: Seconds after which the jobs of a worker that says nothing are given to others.
    :param volatile: Whether the server may lose what it holds, as in tests.
    :param clock: Gives seconds, for tests. Default: the server's clock.
    :raises ConfigurationError: The URL is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        app: str,
        capacity: Capacity = Capacity(),  # noqa: B008 # frozen
        timeout: float = TIMEOUT,
        lease: float = LEASE,
        volatile: bool = False,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            url,
            app=app,
            capacity=capacity,
            timeout=timeout,
            volatile=volatile,
            draw=draw,
            lease=lease,
        )
        self._prefix = f"{{{app}}}:jobs"
        self._lease = lease
        self._clock = clock
        self._address = read_url(url)
        self._checked = volatile
        self._beating: dict[str, threading.Event] = {}
        self._closing: weakref.finalize[Any, Any] | None = None
        self._begin()

    def _begin(self) -> None:
        if self._closing is not None:
            self._closing.detach()  # a forked child leaves the parent its connections
        self._client = ScriptClient(self._address, timeout=self._timeout)
        self._closing = weakref.finalize(self, self._client.close)
        self._closing.atexit = False

    def check(self) -> None:
        """Refuse a server that may lose what was written.

        :raises ConfigurationError: It writes nothing to a disk, or may evict keys.
        """
        if self._volatile:
            return
        told = b"\n".join(self._run("durability")).decode()
        facts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
        if facts.get("aof_enabled") != "1":
            raise ConfigurationError(
                f"{self._address.text!r} keeps nothing on its disk when it is killed, so accepted "
                "jobs could be lost. Set 'appendonly yes' in its configuration."
            )
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise ConfigurationError(
                f"{self._address.text!r} removes keys when its memory is full ({policy}), accepted "
                "jobs among them. Set 'maxmemory-policy noeviction' in its configuration."
            )

    def now(self) -> float:
        """The instant of the server's clock."""
        return self._get("")[0]

    def insert(self, record: JobRecord) -> tuple[JobRecord, bool]:
        """Keep a new job, on a server that keeps what is written to it.

        Each process looks at the server before its first job: a worker may never have.
        """
        if not self._checked:
            try:
                self.check()
            except ConfigurationError as error:
                raise JobsUnavailable(f"No job is accepted: {error}") from error
            self._checked = True
        kept = record.accepted(self.now())
        key = "" if record.key is None else _digest(record.owner, record.name, record.key)
        reply = self._put(kept, expected="", key=key)
        if reply[0] == b"full":
            of_owner, capacity = reply[1] == b"owner", self._capacity
            most = capacity.max_queued_per_owner if of_owner else capacity.max_queued
            raise TooManyJobs(max_queued=most or 0, of_owner=of_owner)
        if reply[0] == b"known":
            found = _read(reply[1])
            if found.digest != record.digest:
                raise conflict(record)
            return found, False
        return kept, True

    def get(self, id: str) -> JobRecord | None:
        """The job of an id; ``None`` if there is none, or no longer."""
        return self._get(id)[1]

    def find(self, wanted: Filter) -> list[JobRecord]:
        """Jobs, newest first."""
        found: list[JobRecord] = []
        after, now = wanted.after or "", self._get("")[0]
        scope = ("", "") if wanted.owner is None else ("owner", wanted.owner)
        while len(found) < wanted.limit:
            rows = self._run("find", *scope, after, str(max(100, wanted.limit)))
            records = [_read(row) for row in rows if row]
            found += [
                each
                for each in records
                if not _expired(each, now) and wanted.status in (None, each.state.status)
            ]
            if not records:
                break
            after = records[-1].id
        return found[: wanted.limit]

    def change(self, id: str, change: Change) -> JobRecord | None:
        """Replace a record by what ``change`` makes of it, unless it has changed meanwhile."""
        return self._change(id, change)

    def claim(self, worker: str, names: Sequence[str], limit: int) -> list[JobRecord]:
        """Claim jobs that are due; one that another worker claimed first is left to it."""
        claimed: list[JobRecord] = []
        lost = True
        while lost and len(claimed) < limit:  # in place of those there may be others
            lost = False
            now, due = self._due(names, limit - len(claimed))
            for record in due:
                begun = begin(record, worker, now)
                if begun is None:
                    continue
                if self._put(begun, expected=str(record.version))[0] == b"ok":
                    claimed.append(begun)
                else:
                    lost = True
        return claimed

    def due(self, names: Sequence[str], limit: int) -> list[JobRecord]:
        """Jobs that are due, those due first."""
        return self._due(names, limit)[1]

    def claimed_by(self, worker: str) -> list[JobRecord]:
        """The running jobs of a worker."""
        return [_read(row) for row in self._run("running", worker)]

    def rescue(self) -> list[JobRecord]:
        """End the attempts whose lease has ended."""
        outcome, rescued = Outcome("interrupted", error=INTERRUPTED), []
        for record in map(_read, self._run("running", "")):
            attempt = record.state.attempt

            def ended(now_there: JobRecord, now: float, attempt: int = attempt) -> JobRecord | None:
                return ending(now_there, attempt, outcome, now, self._draw())

            after = self._change(record.id, ended, only_expired=True)
            if after is not None:
                rescued.append(after)
        return rescued

    def purge(self, limit: int) -> int:
        """Remove expired jobs."""
        (removed,) = self._run("purge", str(limit))
        return int(removed)

    def counts(self) -> Counts:
        """How many jobs are queued and running."""
        queued, running, wait, *_ = self._run("look")
        return Counts(int(queued), int(running), float(wait) if wait else None)

    def changes(self) -> object:
        """A counter of all changes; a worker's own are among them."""
        return self._run("changes")[0]

    def join(self, worker: WorkerInfo) -> None:
        """Be known, and renew the leases of the worker's jobs until it leaves."""
        self._run("beat", worker.id, str(self._lease), json.dumps(asdict(worker)))
        ended = self._beating[worker.id] = threading.Event()
        threading.Thread(
            target=self._beat, args=(worker.id, ended), name="job-leases", daemon=True
        ).start()

    def leave(self, worker: str) -> None:
        """Be known as gone; what was claimed is given to others at once."""
        beating = self._beating.pop(worker, None)
        if beating is not None:
            beating.set()
        with suppress(JobsUnavailable):  # then the leases end by themselves
            self._run("beat", worker, "0", "")

    def workers(self) -> list[WorkerInfo]:
        """The workers that renewed their entry lately."""
        _, _, _, *said = self._run("look")
        found = [json.loads(each) for each in said if each]
        infos = [WorkerInfo(**{**each, "names": tuple(each["names"])}) for each in found]
        return sorted(infos, key=lambda info: info.id)

    def waking(self, worker: str, wake: Callable[[], object]) -> AbstractContextManager[None]:
        """Call ``wake`` when there is a job to start or to cancel.

        Looks every 30 ms in its place take an idle worker 1.15 % of a core beside 0.40 %, and start
        a job after 19 ms beside 6 (``./scripts/bench job-idle job-start``).
        """
        stream = f"{self._prefix}:wakes"
        return redis_wakes.waking(self._address, stream, wake, timeout=self._timeout)

    @contextmanager
    def entered(self, worker: str, id: str) -> Iterator[bool]:
        """Lead a group of processes, so that its worker can end all of it."""
        lead_group(_note(worker, id))
        yield True
        _note(worker, id).unlink(missing_ok=True)

    def clean_up(self, worker: str, id: str) -> None:
        """Kill the processes of an attempt, if it had begun on this machine."""
        end_group(_note(worker, id))

    def close(self) -> None:
        """Close all connections."""
        for ended in self._beating.values():
            ended.set()
        self._client.close()

    def _begin_in_child(self) -> None:
        self._begin()

    def _beat(self, worker: str, ended: threading.Event) -> None:
        while not ended.wait(self._lease / BEATS_PER_LEASE):
            try:
                self._run("beat", worker, str(self._lease), "")
            except JobsUnavailable as error:
                logger.warning("The leases of %s were not renewed: %s", worker, error)

    def _due(self, names: Sequence[str], limit: int) -> tuple[float, list[JobRecord]]:
        if not names:
            return 0.0, []
        now, *rows = self._run("due", str(limit), *names)
        return float(now), [_read(row) for row in rows]

    def _get(self, id: str) -> tuple[float, JobRecord | None]:
        at, row = self._run("get", id)
        now = float(at)
        record = _read(row) if row else None
        return now, None if record is None or _expired(record, now) else record

    def _change(self, id: str, change: Change, *, only_expired: bool = False) -> JobRecord | None:
        for _ in range(TRIES):
            now, record = self._get(id)
            after = None if record is None else change(record, now)
            if record is None or after is None:
                return None
            reply = self._put(after, expected=str(record.version), only_expired=only_expired)
            if reply[0] == b"ok":
                return after
            if only_expired:
                return None
        raise JobsUnavailable(f"Job {id!r} changes too often to be changed.")

    def _put(
        self, record: JobRecord, *, expected: str, key: str = "", only_expired: bool = False
    ) -> list[bytes]:
        state, capacity = record.state, self._capacity
        return self._run(
            "put",
            record.id,
            expected,
            str(record.version),
            json.dumps(row_of(record)),
            state.status,
            record.name,
            record.owner,
            repr(state.due_at),
            record.worker or "",
            str(self._lease),
            "" if state.expires_at is None else repr(state.expires_at),
            key,
            "" if capacity.max_queued is None else str(capacity.max_queued),
            "" if capacity.max_queued_per_owner is None else str(capacity.max_queued_per_owner),
            "1" if only_expired else "",
        )

    def _run(self, script: str, *arguments: str) -> list[Any]:
        self._forked()
        now = "" if self._clock is None else repr(self._clock())
        try:
            reply: list[Any] = self._client.run(_script(script), [self._prefix], [now, *arguments])
        except StoreError as error:
            raise JobsUnavailable(f"Jobs cannot be read or written: {error}") from error
        return reply


@cache
def _script(name: str) -> Script:
    folder = files(__package__) / "lua"
    return Script(
        "\n".join((folder / f"{each}.lua").read_text("utf-8") for each in ("shared", name))
    )


def _read(row: bytes) -> JobRecord:
    return record_of(json.loads(row))


def _expired(record: JobRecord, now: float) -> bool:
    return record.state.expires_at is not None and record.state.expires_at <= now


def _digest(owner: str, name: str, key: str) -> str:
    return sha256(json.dumps([owner, name, key]).encode()).hexdigest()


def _note(worker: str, id: str) -> Path:
    home = Path(tempfile.gettempdir(), f"flask-concurrency-jobs-{os.getuid()}")
    home.mkdir(mode=0o700, exist_ok=True)
    return home / f"{worker}+{id}"
