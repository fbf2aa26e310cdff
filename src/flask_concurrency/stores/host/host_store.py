"""Keep the counts of all processes of this host in one mapped file. No server, no thread.

Knows when the file is opened, and when it must be opened anew; knows nothing of what is in it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import methodcaller
from pathlib import Path
from threading import get_ident
from typing import Final, TypeVar

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.stores.host.header import DamagedFile
from flask_concurrency.stores.host.layout import Geometry
from flask_concurrency.stores.host.locks import FileGone
from flask_concurrency.stores.host.private_directory import default_directory
from flask_concurrency.stores.host.private_file import file_name, open_file, remove_file
from flask_concurrency.stores.host.snapshot import Snapshot, snapshot_of
from flask_concurrency.stores.host.transactions import Transactions
from flask_concurrency.stores.store import Check, CheckTemplates, LimiterCounts
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    StoreError,
    StoreUnavailable,
)
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")

Result = TypeVar("Result")

MAX_KEYS: Final = 32_768
MAX_PROCESSES: Final = 128
MOST: Final = 2**22
"""What ``max_keys`` may be at most: 2.5 GB of memory."""

REENTERED: Final = "A limit was asked for by a signal handler or a finalizer."

ATTEMPTS: Final = 3
"""How often a request opens the file anew before it gives up."""


class HostStore:
    """Exact counts for all processes of this host that name the same namespace.

    The file is opened by the first request of each process, never before a fork.

    :param namespace: Whose counts these are, such as a deployment's name; any text.
    :param directory: Where the file lives; it must be private to this user. By default in memory:
        ``$XDG_RUNTIME_DIR/flask-concurrency``, else ``/dev/shm/flask-concurrency-<uid>``.
    :param max_keys: Keys whose rates are remembered, over all limiters; about 20 MB for the
        default of 32,768. When full, a key of the limiter that has most of them is forgotten.
    :param max_processes: Processes that may have the file open at the same time.
    :param timeout: Seconds to wait at most for another process.
    :param clock: Seconds that never go back, the same for all processes of the host.
    :raises ConfigurationError: A number makes no sense.
    """

    poll_interval: float | None = 0.02

    def __init__(
        self,
        namespace: str,
        *,
        directory: Path | None = None,
        max_keys: int = MAX_KEYS,
        max_processes: int = MAX_PROCESSES,
        timeout: float = 1.0,
        clock: Clock = monotonic,
    ) -> None:
        _check("max_keys", max_keys, MOST)
        _check("max_processes", max_processes, 4_096)
        self._namespace = namespace
        self._directory = directory
        self._geometry = Geometry.holding(max_keys, max_processes)
        self._timeout = timeout
        self._clock = clock
        self._transactions: Transactions | None = None
        self._opened_at = 0.0
        # Threads that are counting now, and what to do as soon as they are done: the garbage
        # collector may end an abandoned request in the middle of counting another one.
        self._counting: set[int] = set()
        self._late: deque[Callable[[], None]] = deque()
        call_in_child(self, HostStore._reset_after_fork)

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        """Spend the units of all checks, or of none if any but a shadow is refused."""
        if get_ident() in self._counting:
            raise StoreError(REENTERED)
        return self._do(methodcaller("take", checks)) if checks else []

    def take_for(self, key: str, templates: CheckTemplates) -> list[Outcome]:
        """Spend the units of all checks of one key, or of none."""
        # Each layer between this and the file takes a request 0.3 µs (``bench rates``).
        thread = get_ident()
        counting = self._counting
        if thread in counting:
            raise StoreError(REENTERED)
        try:
            counting.add(thread)
            transactions = self._transactions or self._open()
            try:
                return transactions.take_for(key, templates)
            except (FileGone, DamagedFile) as error:
                again = methodcaller("take_for", key, templates)
                return self._anew(again, transactions, error)
        except OSError as error:
            raise StoreUnavailable(f"The host store cannot be locked: {error}.") from error
        finally:
            counting.discard(thread)
            if self._late:
                self._do_late()

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        """Return what these checks took. Permits wait for no other process.

        What was taken from a file that is not there any more went with it. In the file that took
        its place it would be another request's.
        """
        thread = threading.get_ident()
        if thread in self._counting:
            self._late.append(lambda: self.give_back(checks, after=after))
            return
        transactions = self._transactions
        if transactions is None:  # closed or forked since: what was held came back then
            return
        if self._clock() - after < self._opened_at:
            return
        try:
            self._counting.add(thread)
            transactions.give_back(checks, after)
        except (FileGone, DamagedFile) as error:
            self._let_go(transactions, error)
        except OSError as error:
            raise StoreUnavailable(f"The host store cannot be locked: {error}.") from error
        finally:
            self._counting.discard(thread)
            if self._late:
                self._do_late()

    def forget(self, checks: Sequence[Check]) -> int:
        """Reset the counts of these checks' rates; permits stay held."""
        return self._do(lambda transactions: transactions.forget(checks))

    def clear_limiters(self, limiters: Sequence[LimiterCounts]) -> int:
        """Reset the counts of these limiters' rates, of every key; permits stay held."""
        return self._do(lambda transactions: transactions.clear_limiters(limiters))

    def clear(self) -> int:
        """Reset the counts of all rates, of every key; permits stay held."""
        return self._do(Transactions.clear)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._transactions is not None:
            self._let_go(self._transactions)

    def probe(self) -> None:
        """Find out whether counting would work now.

        :raises StoreError: The file cannot be opened or locked.
        """
        self._do(Transactions.probe)

    def snapshot(self) -> Snapshot:
        """What the file holds at this moment, for people to look at.

        :raises StoreError: The file cannot be opened.
        """
        return self._do(lambda transactions: snapshot_of(transactions, self._clock()))

    def _do(self, work: Callable[[Transactions], Result]) -> Result:
        """Do something that is not done for every request, as :meth:`take` does what is."""
        thread = threading.get_ident()
        try:
            self._counting.add(thread)
            transactions = self._transactions or self._open()
            try:
                return work(transactions)
            except (FileGone, DamagedFile) as error:
                return self._anew(work, transactions, error)
        except OSError as error:
            raise StoreUnavailable(f"The host store cannot be locked: {error}.") from error
        finally:
            self._counting.discard(thread)
            self._do_late()

    def _anew(
        self, work: Callable[[Transactions], Result], gone: Transactions, why: Exception
    ) -> Result:
        """Work on a new file, because the one that was open cannot be used any more."""
        for _ in range(ATTEMPTS):
            self._let_go(gone, why)
            gone = self._open()
            try:
                return work(gone)
            except (FileGone, DamagedFile) as error:
                why = error
        raise StoreUnavailable(
            f"The file of {self._namespace!r} is removed or cut off again and again. Find out "
            "who does that, or give it a directory of its own."
        )

    def _do_late(self) -> None:
        with suppress(IndexError):  # another thread was faster
            while self._late:
                try:
                    self._late.popleft()()
                except StoreError as error:
                    logger.warning("What an abandoned request took was not given back: %s", error)

    def _open(self) -> Transactions:
        with _OPENING:
            if self._transactions is None:
                directory = self._directory or default_directory()
                path = directory / file_name(self._namespace)
                try:
                    file = open_file(path, self._geometry, timeout=self._timeout)
                except OSError as error:
                    raise StoreUnavailable(f"{str(path)!r} cannot be opened: {error}.") from error
                self._opened_at = self._clock()
                self._transactions = Transactions(file, self._clock, self._late.append)
                self._closing = weakref.finalize(self, self._transactions.close, wait=False)
                self._closing.atexit = False  # the kernel closes; late threads may still count
            return self._transactions

    def _let_go(self, transactions: Transactions, why: Exception | None = None) -> None:
        """Close a file.

        :param why: What is wrong with it; the first thread that finds it logs it.
        """
        with _OPENING:
            first = self._transactions is transactions
            if first:
                self._transactions = None
                self._closing.detach()
        if first and isinstance(why, DamagedFile):
            # The others find it gone, and come to the new one, within a second.
            remove_file(transactions.file, timeout=self._timeout)
        if first and why is not None and why.args:
            what = f"is damaged: {why}" if isinstance(why, DamagedFile) else str(why)
            logger.warning(
                "%s %s. What was counted in it is lost; a new file counts from now on.",
                transactions.file.path,
                what,
            )
        transactions.close(wait=True)

    def _reset_after_fork(self) -> None:
        """Close, in a forked child, a file whose locks prove that the parent lives."""
        transactions, self._transactions = self._transactions, None
        self._counting.clear()
        self._late.clear()
        if transactions is not None:
            self._closing.detach()
            transactions.close(wait=False)


def _check(name: str, value: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise ConfigurationError(
            f"{name} = {value!r}: give a whole number from 1 to {most:,}, or leave it out."
        )


_OPENING = threading.RLock()
"""Held while a file is opened or closed: no fork may see one that is half open."""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_OPENING.acquire,
        after_in_parent=_OPENING.release,
        after_in_child=_OPENING.release,  # registered later than the reset of the stores
    )
