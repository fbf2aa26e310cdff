"""``Rate(..., max_wait=)``: requests wait for their turn instead of being refused."""

from __future__ import annotations

import threading

import pytest

from flask_concurrency import ConfigurationError, InFlight, Rate
from flask_concurrency.admission.gate import Gate
from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.admission.waiting_room import Waiter, WaitingRooms
from flask_concurrency.runtime.deadline import within
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.limits import Limit


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock that a waiting request moves on by as long as it waits."""
    clock = ManualClock(now=monotonic())  # deadlines are instants of that clock
    monkeypatch.setattr(Waiter, "wait", lambda waiter, seconds: clock.advance(seconds))
    return clock


def gate(
    clock: ManualClock, *limits: Limit, rooms: WaitingRooms | None = None, cost: int = 1
) -> Gate:
    limiters = [Limiter(each.text, each.text, each, lambda: "k", cost=cost) for each in limits]
    return Gate(
        limiters,
        MemoryStore(clock=clock),
        rooms=WaitingRooms() if rooms is None else rooms,
        clock=clock,
    )


@pytest.mark.parametrize("algorithm", ["sliding-window", "fixed-window", "token-bucket"])
def test_a_request_waits_until_the_rate_lets_it_in(clock: ManualClock, algorithm: str) -> None:
    """As long as it has to and no longer: 12 in 10 s and a second under 2 in 2 seconds."""
    rate = Rate("2 per 2 seconds", algorithm=algorithm, max_wait=5.0)  # type: ignore[arg-type]
    paced = gate(clock, rate)
    began = clock.now
    assert all(paced.acquire().decision.admitted for _ in range(12))
    assert clock.now - began == pytest.approx(10.0, abs=0.1)


def test_a_wait_that_would_be_in_vain_is_not_begun(clock: ManualClock) -> None:
    """The rate knows when it lets in again: later than ``max_wait`` is refused at once."""
    paced = gate(clock, Rate("1/minute", max_wait=59.0))
    paced.acquire()
    began = clock.now
    refused = paced.acquire().decision
    assert not refused.admitted
    assert refused.retry_after == pytest.approx(60.0)
    assert clock.now == began


def test_a_cost_above_the_quota_does_not_wait(clock: ManualClock) -> None:
    """No wait would help."""
    began = clock.now
    assert not gate(clock, Rate("2/second", max_wait=9.0), cost=3).acquire().decision.admitted
    assert clock.now == began


def test_a_limit_beside_it_that_does_not_wait_refuses_at_once(clock: ManualClock) -> None:
    """Who waited for the one would be refused by the other."""
    paced = gate(clock, Rate("1/second", max_wait=9.0), Rate("1/hour"))
    paced.acquire()
    began = clock.now
    assert not paced.acquire().decision.admitted
    assert clock.now == began


def test_a_deadline_ends_the_wait(clock: ManualClock) -> None:
    """Its client has gone by then."""
    paced = gate(clock, Rate("1/minute", max_wait=90.0))
    paced.acquire()
    with within(2.0, clock), pytest.raises(DeadlineExceeded, match="its turn: 1/minute"):
        paced.acquire()


def test_a_request_that_waits_is_not_overtaken() -> None:
    """A later request waits behind it, and at most a quota of requests waits."""
    clock = ManualClock()
    rooms = WaitingRooms()
    paced = gate(clock, Rate("2/minute", max_wait=90.0), rooms=rooms)
    for _ in range(2):
        paced.acquire()
    first, second = (rooms.enter(("2/minute", "k"), "fifo", most=2) for _ in range(2))
    assert first is not None
    assert second is not None
    assert not paced.acquire().decision.admitted  # the room is full
    clock.advance(61)
    rooms.leave(second)
    admitted = threading.Event()

    def acquire() -> None:
        assert paced.acquire().decision.admitted
        admitted.set()

    thread = threading.Thread(target=acquire)
    thread.start()
    while len(rooms) < 2:
        pass
    assert not admitted.is_set()
    rooms.leave(first)
    thread.join(30)
    assert admitted.is_set()
    assert len(rooms) == 0


def test_a_permit_beside_it_is_waited_for_too(clock: ManualClock) -> None:
    """Both limits wait, and the request comes in once both let it."""
    paced = gate(clock, Rate("1/second", max_wait=9.0), InFlight(1, max_queue=4, max_wait=9.0))
    for _ in range(3):
        answer = paced.acquire()
        assert answer.decision.admitted
        assert answer.permit is not None
        answer.permit.release()


@pytest.mark.parametrize("wait", [-1, True, "2", float("inf"), float("nan")])
def test_what_is_no_time_to_wait_is_refused(wait: object) -> None:
    """Where it is written."""
    with pytest.raises(ConfigurationError, match="max_wait="):
        Rate("5/minute", max_wait=wait)  # type: ignore[arg-type]
