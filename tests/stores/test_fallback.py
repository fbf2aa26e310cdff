"""What happens to requests while a store is out, with a store that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import pytest

from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.stores.circuit_breaker import CircuitBreaker
from flask_concurrency.stores.fallback import FallbackStore, OnFailure
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.store import Check
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.decision import Outcome
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

RATE = Check("rate", SlidingWindow(5, 60.0), "k", 1)
INSIDE = Check("inside", InFlightCount(3), "k", 1)
GONE = StoreUnavailable("gone.")


class Remote(MemoryStore):
    """A store that can be taken away.

    :ivar error: What every call raises; ``None`` while it is there.
    :ivar calls: Calls that reached it, whatever became of them.
    """

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.error: StoreError | None = None
        self.calls = 0

    def take(self, checks: Sequence[Check]) -> list[Outcome]:
        self._meet()
        return super().take(checks)

    def give_back(self, checks: Sequence[Check], *, after: float = 0.0) -> None:
        self._meet()
        super().give_back(checks, after=after)

    def _meet(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class World:
    """A fallback whose store comes and goes by hand."""

    def __init__(self, on_failure: OnFailure = "local") -> None:
        self.clock = ManualClock()
        self.remote = Remote(self.clock)
        self._threads: list[threading.Thread] = []
        self.store = FallbackStore(
            self.remote,
            self._probe,
            on_failure=on_failure,
            clock=self.clock,
            breaker=partial(CircuitBreaker, pause=self._pause, start=self._threads.append),
        )

    def go(self, error: StoreError = GONE) -> None:
        """Take the store away; the next request notices."""
        self.remote.error = error

    def come_back(self) -> None:
        """Let the store answer again, and let a probe find out."""
        self.remote.error = None
        self._threads.pop().run()

    def inside(self) -> int:
        """Units the remote store believes inside."""
        look = INSIDE._replace(cost=0)
        return 3 - MemoryStore.take(self.remote, [look])[0].remaining

    def spent(self) -> int:
        """Units of the rate the remote store believes spent."""
        look = RATE._replace(cost=0)
        return 5 - MemoryStore.take(self.remote, [look])[0].remaining

    def _probe(self) -> None:
        if self.remote.error is not None:
            raise self.remote.error

    def _pause(self, closing: threading.Event, seconds: float) -> bool:
        self.clock.advance(seconds)
        return False


@pytest.fixture
def world() -> World:
    return World()


def test_a_store_that_is_there_is_simply_asked(world: World) -> None:
    """Nothing is counted twice, and nothing is logged."""
    assert world.store.take([RATE])[0].remaining == 4
    assert world.spent() == 1
    assert world.store.snapshot().errors == 0


def test_one_request_meets_the_outage_and_no_other(world: World) -> None:
    """While the circuit is open no request waits for the store, not even to give back."""
    world.store.take([INSIDE])
    world.go()
    before = world.remote.calls
    for _ in range(10):
        world.store.take([RATE])
    world.store.give_back([INSIDE])
    assert world.remote.calls == before + 1
    assert world.store.snapshot().stood_in == 10


def test_local_counts_in_this_process(world: World) -> None:
    """As many as the limit allows, and no more; every key starts at zero."""
    for _ in range(3):
        world.store.take([RATE])
    world.go()
    answers = [world.store.take([RATE])[0] for _ in range(6)]
    assert [answer.remaining for answer in answers] == [4, 3, 2, 1, 0, 0]
    assert not answers[-1].admitted


def test_admit_lets_everybody_in() -> None:
    """But for what no store would admit: a closed limit stays closed."""
    world = World("admit")
    world.go()
    closed = Check("closed", SlidingWindow(0, 60.0), "k", 1)
    for _ in range(20):
        assert [o.admitted for o in world.store.take([RATE, INSIDE])] == [True, True]
    assert not world.store.take([closed])[0].admitted
    world.store.give_back([INSIDE])


def test_refuse_lets_nobody_in() -> None:
    """The limit raises instead of deciding; a shadow limit keeps no request out, as ever."""
    world = World("refuse")
    world.go()
    for checks in ([RATE, INSIDE], [RATE, INSIDE._replace(shadow=True)]):
        with pytest.raises(StoreUnavailable, match="ON_STORE_FAILURE is 'refuse'"):
            world.store.take(checks)
    assert not world.store.take([RATE._replace(shadow=True)])[0].admitted
    assert world.store.snapshot().stood_in == 3


def test_the_store_counts_again_once_it_is_back(world: World) -> None:
    """What it counted before is still there."""
    world.store.take([RATE])
    world.go()
    world.store.take([RATE])
    world.come_back()
    assert world.store.take([RATE])[0].remaining == 3
    assert world.store.snapshot().out_for is None


def test_a_permit_taken_before_is_returned_when_the_store_is_back(world: World) -> None:
    """The store is owed it meanwhile, and nothing comes out of giving back."""
    world.store.take([INSIDE])
    world.go()
    world.store.take([RATE])
    world.store.give_back([INSIDE])
    assert world.inside() == 1
    world.come_back()
    assert world.inside() == 0


def test_a_permit_taken_meanwhile_is_not_returned_to_the_store(world: World) -> None:
    """The store never counted it: giving it back would admit one request too many."""
    world.store.take([INSIDE])
    world.go()
    world.store.take([INSIDE])
    world.come_back()
    world.store.give_back([INSIDE])
    assert world.inside() == 1
    world.store.give_back([INSIDE])
    assert world.inside() == 0
    assert len(world.store._stand_in) == 0  # type: ignore[arg-type]


def test_all_permits_of_an_outage_return(world: World) -> None:
    """Whatever the order: three before, three meanwhile, and in the end none."""
    for _ in range(3):
        world.store.take([INSIDE])
    world.go()
    for _ in range(3):
        assert world.store.take([INSIDE])[0].admitted
    for _ in range(2):
        world.store.give_back([INSIDE])
    world.come_back()
    for _ in range(4):
        world.store.give_back([INSIDE])
    assert world.inside() == 0
    assert len(world.store._stand_in) == 0  # type: ignore[arg-type]


def test_a_refused_stage_takes_no_permit(world: World) -> None:
    """Nothing is remembered of a stage that another limit refused."""
    world.go()
    closed = Check("closed", SlidingWindow(0, 60.0), "k", 1)
    world.store.take([INSIDE, closed])
    world.come_back()
    world.store.take([INSIDE])
    world.store.give_back([INSIDE])
    assert world.inside() == 0


def test_units_return_to_where_they_were_spent(world: World) -> None:
    """A refund of units spent before, during or after an outage finds the right store."""
    world.store.take([RATE])
    world.store.take([RATE])
    world.clock.advance(5.0)
    world.go()
    world.store.take([RATE])
    world.clock.advance(5.0)
    world.store.give_back([RATE], after=10.0)  # before: owed
    world.store.give_back([RATE], after=5.0)  # during: the spare's
    assert world.spent() == 2
    world.come_back()
    assert world.spent() == 1
    world.clock.advance(1.0)
    world.store.take([RATE])
    world.store.give_back([RATE])
    assert world.spent() == 1


def test_giving_back_may_be_what_meets_the_outage(world: World) -> None:
    """It raises nothing, and opens the circuit for all other requests."""
    world.store.take([INSIDE])
    world.go()
    world.store.give_back([INSIDE])
    assert world.store.snapshot().outages == 1


def test_an_error_of_one_key_leaves_the_circuit_closed(world: World) -> None:
    """That request is decided here; the next one asks the store again."""
    world.go(StoreError("foreign."))
    assert world.store.take([RATE])[0].remaining == 4
    world.remote.error = None
    assert world.store.take([RATE])[0].remaining == 4
    assert world.spent() == 1
    health = world.store.snapshot()
    assert (health.outages, health.errors, health.stood_in) == (0, 1, 1)


def test_an_error_of_one_key_does_not_come_out_of_giving_back(world: World) -> None:
    """The permit's lease ends it; the store stays open for every other key."""
    world.store.take([INSIDE])
    world.go(StoreError("foreign."))
    world.store.give_back([INSIDE])
    assert not world.store._breaker.open
    assert world.store.snapshot().errors == 1


def test_a_store_that_goes_again_while_it_is_paid_is_owed_the_rest(world: World) -> None:
    """Debts are settled one by one, and the second outage stops it."""
    for _ in range(3):
        world.store.take([INSIDE])
    world.go()
    world.store.take([RATE])
    for _ in range(3):
        world.store.give_back([INSIDE])
    flaky = world.remote.give_back

    def go_after_one(checks: Sequence[Check], *, after: float = 0.0) -> None:
        flaky(checks, after=after)
        world.go()

    world.remote.give_back = go_after_one  # type: ignore[method-assign]
    world.come_back()
    world.remote.give_back = flaky  # type: ignore[method-assign]
    assert world.inside() == 2
    world.come_back()
    # The one whose return met the second outage is dropped: the store's lease ends it.
    assert world.inside() == 1


def test_forgetting_reaches_both_stores_and_says_if_it_failed(world: World) -> None:
    """An operator who starts a key anew must know if it was not."""
    world.store.take([RATE])
    assert world.store.forget([RATE]) == 1
    assert world.spent() == 0


def test_clearing_reaches_both_stores_and_says_if_it_failed(world: World) -> None:
    """What is counted here meanwhile is forgotten even if the store cannot be reached."""
    world.store.take([RATE])
    assert world.store.clear() == 1
    world.go()
    world.store.take([RATE])
    world.remote.clear = world.remote._meet  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable, match="gone"):
        world.store.clear()
    assert world.store.take([RATE])[0].remaining == 4


def test_a_forked_child_owes_nothing(world: World) -> None:
    """What the parent held is returned by the parent."""
    world.store.take([INSIDE])
    world.go()
    world.store.take([RATE, INSIDE])
    world.store.give_back([INSIDE])
    world.store._reset_after_fork()
    world.come_back()
    assert world.inside() == 1
    world.store.take([INSIDE])
    world.store.give_back([INSIDE])
    assert world.inside() == 1


def test_closing_closes_both(world: World) -> None:
    """Counts in memory are gone, and nothing probes any more."""
    world.store.take([RATE])
    world.store.close()
    assert world.spent() == 0
