"""The cache repeats what still holds, and nothing else."""

from __future__ import annotations

import pytest

from flask_concurrency.flask_app.refusal_cache import LONGEST, MAX_REMEMBERED, RefusalCache
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.decision import Decision, Verdict


def refused(retry_after: float | None) -> Decision:
    return Decision(False, (Verdict("route:5/minute", 5, 60.0, False, 0, retry_after, 30.0),))


def test_a_refusal_is_repeated_with_its_waits_counted_down() -> None:
    """The client gets the time that is still left, not the time that was."""
    clock = ManualClock()
    cache = RefusalCache(clock=clock)
    cache.remember("client", refused(12.0))
    clock.advance(0.75)
    recalled = cache.recall("client")
    assert recalled is not None
    assert not recalled.admitted
    assert recalled.retry_after == pytest.approx(11.25)
    assert recalled.verdicts[0].reset_after == pytest.approx(29.25)
    assert cache.recall("another") is None


@pytest.mark.parametrize(
    ("retry_after", "holds"), [(0.25, 0.25), (3600.0, LONGEST), (None, LONGEST)]
)
def test_it_holds_no_longer_than_the_refusal_and_a_second(
    retry_after: float | None, holds: float
) -> None:
    """A limit that lets in again, or was reset, is not hidden behind the cache."""
    clock = ManualClock()
    cache = RefusalCache(clock=clock)
    cache.remember("client", refused(retry_after))
    clock.advance(holds - 0.001)
    assert cache.recall("client") is not None
    clock.advance(0.001)
    assert cache.recall("client") is None
    assert len(cache) == 0


def test_it_is_bounded() -> None:
    """Who attacks from many addresses fills nothing but the cache's own size."""
    cache = RefusalCache(clock=ManualClock())
    for client in range(MAX_REMEMBERED + 10):
        cache.remember(client, refused(1.0))
    assert len(cache) == MAX_REMEMBERED
    assert cache.recall(0) is None
    assert cache.recall(MAX_REMEMBERED + 9) is not None
