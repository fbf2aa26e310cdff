"""Remember which permits this process holds, and renew their leases on the server.

Knows ids and how often to call; knows no server: it is handed the call that renews.

A permit on the server is a lease: it ends by itself unless it is renewed in time, so what a dead
process held comes back. One thread a process renews; it is there while permits are held, and ends
when it finds none.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from flask_concurrency.vocabulary.errors import StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")


class Held(NamedTuple):
    """One permit on the server.

    :ivar key: The key it is under.
    :ivar permit: Its entry there.
    """

    key: str
    permit: str


class Leases:
    """The permits of one process.

    :param renew: Called with all that is held; may raise ``StoreError``.
    :param interval: Seconds between two renewals.
    """

    def __init__(self, renew: Callable[[list[Held]], None], *, interval: float) -> None:
        self._renew = renew
        self._interval = interval
        # Reentrant: the garbage collector may end an abandoned request wherever it likes.
        self._lock = threading.RLock()
        self._ids = itertools.count()
        self._process = os.urandom(6).hex()
        self._held: dict[tuple[str, int], list[str]] = {}
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def new_id(self) -> str:
        """An id no other take of any process has."""
        return f"{self._process}.{next(self._ids):x}"

    def hold(self, key: str, cost: int, permit: str) -> None:
        """Remember a permit, and see that its lease is renewed."""
        with self._lock:
            self._held.setdefault((key, cost), []).append(permit)
            if self._thread is None:
                self._start()

    def pop(self, key: str, cost: int) -> str | None:
        """Forget the newest permit of a key; ``None`` if none is held.

        Which one does not matter: permits of one key and cost in one process are alike.
        """
        with self._lock:
            permits = self._held.get((key, cost))
            if not permits:
                return None
            permit = permits.pop()
            if not permits:
                del self._held[key, cost]
            return permit

    def held(self) -> list[Held]:
        """Everything held now."""
        with self._lock:
            return [
                Held(key, permit) for (key, _), permits in self._held.items() for permit in permits
            ]

    def close(self) -> None:
        """Stop renewing; what is still held comes back when its lease ends."""
        with self._lock:
            self._closing.set()
            self._closing = threading.Event()  # the next use of the store starts another thread
            self._thread = None

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._keep_renewing,
            args=(self._closing,),
            name="flask-concurrency-leases",
            daemon=True,
        )
        self._thread.start()

    def _keep_renewing(self, closing: threading.Event) -> None:
        while not closing.wait(self._interval):
            with self._lock:
                if closing.is_set():
                    return
                if not self._held:
                    self._thread = None
                    return
            try:
                self._renew(self.held())
            except StoreError as error:  # the next take meets the same error and reports it
                logger.debug("Leases were not renewed: %s", error)
