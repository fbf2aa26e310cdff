"""A signal's handler may raise while a thread counts, which bars it from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.store import Check, CheckTemplates
from flask_concurrency.testing.manual_clock import ManualClock

RATE = CheckTemplates((("rate", SlidingWindow(5, 60.0), 1, False),))
PLACE = [Check("places", InFlightCount(5), "", 1)]


class StruckError(BaseException):
    """What the handler raised."""


class Strikes(set[int]):
    """The threads that count; one is struck as soon as it is among them."""

    def add(self, thread: int) -> None:
        super().add(thread)
        raise StruckError


@pytest.mark.parametrize(
    "work",
    [
        lambda store: store.take_for("Ann", RATE),
        lambda store: store.take(PLACE),
        lambda store: store.give_back(PLACE, after=0.0),
        lambda store: store.probe(),
    ],
)
def test_a_thread_that_was_struck_counts_again(
    tmp_path: Path, work: Callable[[HostStore], object]
) -> None:
    """And what it gives back is free at once."""
    store = HostStore(
        "struck", directory=tmp_path / "counts", max_keys=16, max_processes=3, clock=ManualClock()
    )
    store.take(PLACE)
    store._counting = Strikes()
    with pytest.raises(StruckError):
        work(store)
    struck, store._counting = store._counting, set(store._counting)
    assert not struck
    assert store.take_for("Ann", RATE)[0].admitted
    store.close()
