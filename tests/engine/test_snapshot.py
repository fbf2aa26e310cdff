"""A snapshot spends nothing, and a reset releases no permit that a request holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_concurrency import InFlight, Rate
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import Limiter, all_requests
from flask_concurrency.engine.snapshot import look, reset
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing.manual_clock import ManualClock

RATE = Limiter("rate", "rate", Rate("5/minute"), key=lambda: "ann")
BUSY = Limiter("busy", "busy", InFlight(2, max_queue=4, max_wait=1.0), key=all_requests)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore(clock=ManualClock())
    answer = Gate([RATE, BUSY], store).try_acquire()
    assert answer.decision.admitted
    assert answer.permit is not None
    with answer.permit:
        yield store


def test_looking_shows_what_is_used_and_spends_nothing(store: MemoryStore) -> None:
    """Twice the same, however often a snapshot is taken."""
    for _ in range(3):
        rate, busy = look([RATE, BUSY], store, key="ann")
        assert (rate.key, rate.used, rate.quota, rate.period) == ("ann", 1, 5, 60.0)
        assert (busy.key, busy.used, busy.quota, busy.waiting, busy.max_queue) == ("", 1, 2, 0, 4)


def test_without_a_key_only_shared_counts_are_known(store: MemoryStore) -> None:
    """Whom clients' limits count cannot be listed: a store keeps digests, not names."""
    assert [found.name for found in look([RATE, BUSY], store, key=None)] == ["busy"]


def test_a_reset_starts_rates_anew_and_keeps_permits(store: MemoryStore) -> None:
    """Dropping the permits of requests inside would admit too many."""
    assert reset([RATE, BUSY], store, key="ann") == 1
    assert reset([RATE, BUSY], store, key="bob") == 0
    rate, busy = look([RATE, BUSY], store, key="ann")
    assert (rate.used, busy.used) == (0, 1)
