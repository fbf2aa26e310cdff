"""When a store counts as out, who probes it, and what is said about it. No real time passes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from flask_concurrency.stores.circuit_breaker import (
    FIRST_PROBE,
    SLOWEST_PROBE,
    TOLD_AGAIN,
    CircuitBreaker,
)
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

GONE = StoreUnavailable("'redis://x' is of no use: gone.")


class Stage:
    """An outage whose probes are run by hand, on the test's own thread.

    :ivar answers: What each probe raises; ``None`` lets it through.
    :ivar waits: Seconds waited before each probe.
    :ivar recoveries: Times the store was reported back.
    :ivar on_recovery: Called then, too.
    """

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.answers: list[StoreError | None] = []
        self.waits: list[float] = []
        self.recoveries = 0
        self.on_recovery: Callable[[], object] = lambda: None
        self.threads: list[threading.Thread] = []
        self.breaker = CircuitBreaker(
            self._probe,
            recovered=self._recovered,
            meanwhile="Meanwhile.",
            clock=self.clock,
            pause=self._pause,
            start=self.threads.append,
        )

    def run_probes(self) -> None:
        """Do what the thread would, until the store is back or the answers run out."""
        self.threads.pop().run()

    def _probe(self) -> None:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer

    def _pause(self, closing: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        return closing.is_set() or not self.answers

    def _recovered(self) -> None:
        assert not self.breaker.open, "a listener calls the store at once"
        self.recoveries += 1
        self.on_recovery()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_first_failure_opens_and_a_probe_closes(stage: Stage) -> None:
    """In between no request calls the store, and one thread probes."""
    assert not stage.breaker.open
    stage.breaker.trip(GONE)
    stage.breaker.trip(GONE)
    assert stage.breaker.open
    assert len(stage.threads) == 1
    stage.answers = [None]
    stage.run_probes()
    assert not stage.breaker.open
    assert stage.recoveries == 1


def test_probes_come_soon_and_then_ever_more_slowly(stage: Stage) -> None:
    """Each wait is twice the one before, up to a bound."""
    stage.breaker.trip(GONE)
    stage.answers = [GONE] * 7 + [None]
    stage.run_probes()
    assert stage.waits[:3] == [FIRST_PROBE, 2 * FIRST_PROBE, 4 * FIRST_PROBE]
    assert stage.waits[-1] == SLOWEST_PROBE
    assert stage.recoveries == 1


def test_an_outage_is_one_line_and_so_is_its_end(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests meet it: why, what happens meanwhile, and how long it was."""
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        for _ in range(100):
            stage.breaker.trip(GONE)
        stage.breaker.stood_in = 100
        stage.answers = [GONE, None]
        stage.run_probes()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "'redis://x' is of no use: gone. Meanwhile.",
        "The store is back after 0.3 s; 100 requests were decided without it so far.",
    ]


def test_errors_of_single_keys_are_told_once_a_minute(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """They do not open the circuit, since the next key may be fine; all of them are counted."""
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        for _ in range(10):
            stage.breaker.note(StoreError("foreign."))
        stage.clock.advance(TOLD_AGAIN)
        stage.breaker.note(StoreError("foreign."))
    assert len(caplog.records) == 2
    assert not stage.breaker.open
    assert stage.breaker.health().errors == 11


def test_health_tells_how_it_has_been(stage: Stage) -> None:
    """Outages, errors, and for how long it has been out; nothing while it is there."""
    assert stage.breaker.health().out_for is None
    stage.breaker.trip(GONE)
    stage.clock.advance(3.0)
    health = stage.breaker.health()
    assert (health.out_for, health.outages, health.errors) == (3.0, 1, 1)
    assert health.last_error == str(GONE)
    stage.answers = [None]
    stage.run_probes()
    assert stage.breaker.health().out_for is None
    stage.breaker.trip(GONE)
    assert stage.breaker.health().outages == 2


def test_it_knows_which_instants_an_outage_covers(stage: Stage) -> None:
    """Units spent then were not spent in the store."""
    before = stage.clock()
    stage.clock.advance(1.0)
    stage.breaker.trip(GONE)
    during = stage.clock()
    assert not stage.breaker.covers(before)
    assert stage.breaker.covers(during)
    assert stage.breaker.covers(during + 100.0)
    stage.answers = [None]
    stage.run_probes()
    assert stage.breaker.covers(during)
    assert not stage.breaker.covers(stage.clock())
    assert not stage.breaker.covers(before)


def test_closing_ends_the_probes(stage: Stage) -> None:
    """A store that was closed is not looked for any more."""
    stage.breaker.trip(GONE)
    stage.breaker.close()
    stage.answers = [None]
    stage.run_probes()
    assert stage.breaker.open
    assert stage.answers == [None]
    stage.breaker.ensure_probing()  # a request all the same
    stage.run_probes()
    assert not stage.breaker.open


def test_a_store_that_is_closed_while_it_is_paid_is_not_looked_for(stage: Stage) -> None:
    """What it is owed meets closed connections: that is no outage."""

    def close_amid_a_payment() -> None:
        stage.breaker.close()
        stage.breaker.trip(GONE)

    stage.on_recovery = close_amid_a_payment
    stage.breaker.trip(GONE)
    stage.answers = [None]
    stage.run_probes()
    stage.answers = [None]
    for thread in stage.threads:
        thread.run()
    assert stage.answers == [None], "a thread that began after the end still probes"
    stage.on_recovery = lambda: None
    stage.breaker.ensure_probing()  # a request all the same
    stage.run_probes()
    assert not stage.breaker.open


def test_a_forked_child_probes_for_itself(stage: Stage) -> None:
    """The parent's thread is not in the child; its first request starts another, once."""
    stage.breaker.trip(GONE)
    stage.threads.clear()
    stage.breaker._reset_after_fork()
    assert stage.breaker.open
    stage.breaker.ensure_probing()
    stage.breaker.ensure_probing()
    assert len(stage.threads) == 1


def test_the_thread_is_there_only_during_an_outage() -> None:
    """A real one: it starts with the outage and ends with it."""
    back = threading.Event()
    allowed = threading.Event()

    def probe() -> None:
        if not allowed.is_set():
            raise GONE

    def pause(closing: threading.Event, seconds: float) -> bool:
        return not allowed.wait(5.0)

    breaker = CircuitBreaker(probe, recovered=back.set, meanwhile="", pause=pause)
    assert breaker._thread is None
    breaker.trip(GONE)
    thread = breaker._thread
    assert thread is not None
    assert thread.is_alive()
    assert thread.daemon
    allowed.set()
    assert back.wait(5.0)
    thread.join(5.0)
    assert not thread.is_alive()
    assert breaker._thread is None


@pytest.mark.parametrize("failing", [1, 3])
def test_a_probe_that_fails_again_keeps_the_circuit_open(stage: Stage, failing: int) -> None:
    """Only an answer closes it."""
    stage.breaker.trip(GONE)
    stage.answers = [GONE] * failing
    stage.run_probes()
    assert stage.breaker.open
    assert stage.recoveries == 0
