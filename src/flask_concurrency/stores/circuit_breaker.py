"""Decide from when until when a store counts as out, and find out by itself when it is back.

A circuit breaker: the first failure opens it, so that no other request waits for a store that does
not answer; it closes when a probe gets through. Probes run on a thread that is there only while
the circuit is open, so no request ever pays for one. Knows no checks and no policy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.store")

FIRST_PROBE = 0.1
"""Seconds from the failure to the first probe; a server that restarts is often back by then."""
SLOWEST_PROBE = 2.0
"""Seconds between probes at most, unless said otherwise; each wait is twice the one before."""
TOLD_AGAIN = 60.0
"""Seconds in which errors that are no outage are counted but not logged again."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a store has been doing, seen from one process.

    :ivar out_for: Seconds since it went out; ``None`` while it is there.
    :ivar outages: Times it went out.
    :ivar errors: Calls it failed, those of no outage included.
    :ivar stood_in: Stages that were decided without it.
    :ivar last_error: What the last failed call said; empty for none.
    """

    out_for: float | None
    outages: int
    errors: int
    stood_in: int
    last_error: str


class CircuitBreaker:
    """A circuit: closed while the store is there, open while it is out.

    :param probe: Raises ``StoreError`` while the store is out.
    :param recovered: Called once the store is back.
    :param meanwhile: What happens to requests while it is out, to be logged.
    :param slowest_probe: Seconds between two probes at most.
    :param clock: Source of the time.
    :param pause: Waits some seconds, or less if its event is set, and says whether it is.
    :param start: Runs the probes somewhere else than in a request.
    :ivar open: Whether the store counts as out, so that it is not asked.
    :ivar stood_in: Stages that were decided without it.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        *,
        recovered: Callable[[], None],
        meanwhile: str,
        slowest_probe: float = SLOWEST_PROBE,
        clock: Clock = monotonic,
        pause: Callable[[threading.Event, float], bool] = threading.Event.wait,
        start: Callable[[threading.Thread], None] = threading.Thread.start,
    ) -> None:
        self._probe = probe
        self._recovered = recovered
        self._meanwhile = meanwhile
        self._slowest_probe = slowest_probe
        self._clock = clock
        self._pause = pause
        self._start = start
        # Reentrant: the garbage collector may finalise an abandoned request at any bytecode.
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.open = False  # every request looks here, so it calls nothing
        self._out_at: float | None = None
        self._last: tuple[float, float] | None = None
        self._told_at: float | None = None
        self._outages = 0
        self._errors = 0
        self._last_error = ""
        self.stood_in = 0
        call_in_child(self, CircuitBreaker._reset_after_fork)

    def trip(self, error: StoreError) -> bool:
        """Open the circuit, log why, and begin to probe; only counted if it is open already.

        :returns: Whether it was closed before.
        """
        with self._lock:
            self._count(error)
            if self._out_at is not None:
                return False
            self._out_at = self._clock()
            self.open = True
            self._outages += 1
            logger.warning("%s %s", error, self._meanwhile)
            self._keep_probing()
            return True

    def note(self, error: StoreError) -> None:
        """Count an error that says nothing about the next call; logged once a minute at most."""
        with self._lock:
            self._count(error)
            now = self._clock()
            if self._told_at is None or now - self._told_at >= TOLD_AGAIN:
                self._told_at = now
                logger.warning("%s %s", error, self._meanwhile)

    def covers(self, instant: float) -> bool:
        """Whether the store was out at an instant, as far as the latest outage shows."""
        with self._lock:
            if self._out_at is not None and instant >= self._out_at:
                return True
            return self._last is not None and self._last[0] <= instant < self._last[1]

    def ensure_probing(self) -> None:
        """Start to probe again where the thread is gone: a fork takes no threads along."""
        if self._thread is None:
            with self._lock:
                if self._thread is None and self._out_at is not None:
                    self._keep_probing()

    def health(self) -> Health:
        """How the store has been doing."""
        with self._lock:
            return Health(
                out_for=None if self._out_at is None else self._clock() - self._out_at,
                outages=self._outages,
                errors=self._errors,
                stood_in=self.stood_in,
                last_error=self._last_error,
            )

    def close(self) -> None:
        """Probe no more, unless the store is used again."""
        with self._lock:
            self._closing.set()
            self._closing = threading.Event()
            self._thread = None

    def _count(self, error: StoreError) -> None:
        self._errors += 1
        self._last_error = str(error)

    def _keep_probing(self) -> None:
        self._thread = threading.Thread(
            target=self._probe_until_back,
            args=(self._closing,),
            name="flask-concurrency-probe",
            daemon=True,
        )
        self._start(self._thread)

    def _probe_until_back(self, closing: threading.Event) -> None:
        wait = FIRST_PROBE
        while not self._pause(closing, wait):
            try:
                self._probe()
            except StoreError:
                wait = min(2 * wait, self._slowest_probe)
            else:
                self._end(closing)
                return

    def _end(self, closing: threading.Event) -> None:
        with self._lock:
            if closing.is_set() or self._out_at is None:
                return
            now = self._clock()
            self._last = (self._out_at, now)
            self._out_at = self._thread = None
            self.open = False
            logger.warning(
                "The store is back after %.1f s; %d requests were decided without it so far.",
                now - self._last[0],
                self.stood_in,
            )
        self._recovered()
        if closing.is_set():  # meanwhile: what called the store then met closed connections
            self.close()

    def _reset_after_fork(self) -> None:
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = None
