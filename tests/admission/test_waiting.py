"""The waiting room: bounded by number and time, in order, and no permit is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from flask_concurrency import ConfigurationError, InFlight, Rate
from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import ELSEWHERE, Gate
from flask_concurrency.admission.limiter import Limiter
from flask_concurrency.admission.waiting_room import FREE_THREADS, Waiter, WaitingRooms
from flask_concurrency.runtime.deadline import within
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.limits import Limit

LONG = 30.0
"""Seconds that no waiter spends in a test that passes."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


class Place:
    """A gate with one or more limits, and the means to see which requests wait."""

    def __init__(
        self, *limits: Limit, server_threads: int | None = None, clock: Clock = monotonic
    ) -> None:
        self.opened_at = clock()
        self.rooms = WaitingRooms(server_threads=server_threads)
        self.entered = threading.Semaphore(0)
        enter = self.rooms.enter

        def counted(*args: object, **options: object) -> object:
            waiter = enter(*args, **options)  # type: ignore[arg-type]
            self.entered.release()
            return waiter

        self.rooms.enter = counted  # type: ignore[method-assign, assignment]
        self.gate = Gate(
            [
                Limiter(
                    limit.text, limit.text, limit, lambda: "k", per_client=isinstance(limit, Rate)
                )
                for limit in limits
            ],
            MemoryStore(),
            rooms=self.rooms,
            clock=clock,
        )

    def admitted(self) -> Answer:
        answer = self.gate.acquire()
        assert answer.decision.admitted
        return answer

    def waiting(self, pool: ThreadPoolExecutor) -> Future[Answer]:
        """One more request that has begun to wait."""
        future = pool.submit(self.gate.acquire)
        assert self.entered.acquire(timeout=LONG)
        return future


def leave(answer: Answer) -> None:
    assert answer.permit is not None
    answer.permit.release()


def test_a_waiter_gets_the_place_that_becomes_free(pool: ThreadPoolExecutor) -> None:
    """At once, without polling: the release wakes it."""
    place = Place(InFlight(1, max_queue=1, max_wait=LONG))
    first = place.admitted()
    waiter = place.waiting(pool)
    leave(first)
    answer = waiter.result(LONG)
    assert answer.decision.admitted
    leave(answer)
    assert len(place.rooms) == 0


@pytest.mark.parametrize(("order", "served"), [("fifo", [0, 1, 2]), ("lifo", [2, 1, 0])])
def test_the_order_is_kept(pool: ThreadPoolExecutor, order: str, served: list[int]) -> None:
    """First come first served, or the newest first."""
    place = Place(InFlight(1, max_queue=3, max_wait=LONG, order=order))  # type: ignore[arg-type]
    inside = place.admitted()
    turns: list[int] = []
    answers = [place.waiting(pool) for _ in range(3)]
    for number, future in enumerate(answers):
        future.add_done_callback(lambda _, number=number: turns.append(number))  # type: ignore[misc]
    for turn in range(3):
        leave(inside)
        inside = answers[served[turn]].result(LONG)
    assert turns == served
    leave(inside)


def test_who_comes_now_does_not_overtake(pool: ThreadPoolExecutor) -> None:
    """A full queue refuses even if a permit was just released: it belongs to the waiter."""
    place = Place(InFlight(1, max_queue=1, max_wait=LONG))
    first = place.admitted()
    wake: Callable[..., None] = place.rooms.wake
    place.rooms.wake = lambda room: None  # type: ignore[method-assign]
    waiter = place.waiting(pool)
    leave(first)  # the permit is free, and the waiter does not know yet
    assert not place.gate.acquire().decision.admitted
    wake(("1 in flight", "k"))
    answer = waiter.result(LONG)
    assert answer.decision.admitted
    leave(answer)


def test_the_queue_is_bounded(pool: ThreadPoolExecutor) -> None:
    """The third in a queue of two is refused at once."""
    place = Place(InFlight(1, max_queue=2, max_wait=LONG))
    first = place.admitted()
    waiters = [place.waiting(pool) for _ in range(2)]
    refused = place.gate.acquire()
    assert not refused.decision.admitted
    assert not refused.decision.quota_exceeded
    assert refused.decision.verdicts[0].remaining == 0
    leave(first)
    leave(waiters[0].result(LONG))
    leave(waiters[1].result(LONG))


def test_waiting_ends_in_time() -> None:
    """A waiter whose wait was in vain is refused, and its slot in the queue is free again."""
    place = Place(InFlight(1, max_queue=1, max_wait=0.01))
    first = place.admitted()
    for _ in range(2):
        assert not place.gate.acquire().decision.admitted
    assert len(place.rooms) == 0
    leave(first)
    leave(place.admitted())


def asleep(waiter: Waiter, seconds: float) -> None:
    pytest.fail(f"it would wait {seconds} s for a place that is free")


def test_a_place_that_becomes_free_before_the_wait_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A permit released before the seat was taken woke no waiter, so the gate tries once more."""
    place = Place(InFlight(1, max_queue=1, max_wait=LONG))
    first = place.admitted()
    enter = place.rooms.enter

    def left_meanwhile(*args: object) -> object:
        leave(first)
        return enter(*args)  # type: ignore[arg-type]

    place.rooms.enter = left_meanwhile  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(Waiter, "wait", asleep)
    leave(place.admitted())


def test_a_place_of_another_limit_that_becomes_free_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Leavers of the other limit wake another room, so the waiter looks again after a moment."""
    own, shared = (InFlight(1, max_queue=2, max_wait=LONG) for _ in range(2))
    rooms, store = WaitingRooms(), MemoryStore()
    mine = Limiter("own", "own", own, lambda: "me")
    ours = Limiter("shared", "shared", shared, lambda: "")
    both, other = (Gate(limiters, store, rooms=rooms) for limiters in ([mine, ours], [ours]))
    first = both.acquire()
    strangers: list[Answer] = []
    waits: list[float] = []

    def next_events(waiter: Waiter, seconds: float) -> None:
        waits.append(seconds)
        if not strangers:  # my first request ends, and another client is quicker
            leave(first)
            strangers.append(other.try_acquire())
        elif len(waits) == 2:  # only this room is woken
            leave(strangers[0])

    monkeypatch.setattr(Waiter, "wait", next_events)
    answer = both.acquire()
    assert answer.decision.admitted
    assert waits == [pytest.approx(LONG, abs=1), ELSEWHERE]
    leave(answer)


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock that each waiter advances by as long as it waits."""
    clock = ManualClock(now=monotonic())  # deadlines are instants of that clock
    monkeypatch.setattr(Waiter, "wait", lambda waiter, seconds: clock.advance(seconds))
    return clock


def test_a_waiter_gives_its_place_up_at_its_deadline(passing: ManualClock) -> None:
    """Not when the limit would have made it; its seat and its slot in the queue are free again."""
    place = Place(InFlight(1, max_queue=1, max_wait=LONG), clock=passing)
    first = place.admitted()
    with within(2.0, passing), pytest.raises(DeadlineExceeded, match="a permit: 1 in flight"):
        place.gate.acquire()
    assert passing.now - place.opened_at == pytest.approx(2.0)
    assert len(place.rooms) == 0
    assert not place.gate.acquire().decision.admitted  # it waited, so there was a seat for it
    assert passing.now - place.opened_at == pytest.approx(2.0 + LONG)
    leave(first)
    leave(place.admitted())


def test_a_limit_that_gives_up_first_refuses(passing: ManualClock) -> None:
    """The request is still wanted then, so its answer says when to come back."""
    place = Place(InFlight(1, max_queue=1, max_wait=2.0), clock=passing)
    first = place.admitted()
    with within(LONG, passing):
        assert not place.gate.acquire().decision.admitted
    assert passing.now - place.opened_at == pytest.approx(2.0)
    leave(first)


def test_a_place_that_is_free_is_taken_at_the_last_moment(passing: ManualClock) -> None:
    """The gate admits; the request then sees for itself whether there is time left to use it."""
    place = Place(InFlight(1, max_queue=1, max_wait=2.0), clock=passing)
    with within(0.0, passing):
        inside = place.admitted()
        with pytest.raises(DeadlineExceeded):
            place.gate.acquire()
    assert passing.now == place.opened_at
    assert len(place.rooms) == 0
    leave(inside)


def test_a_deadline_that_comes_closer_is_seen(
    passing: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter that is woken looks at its deadline again: a task may have cancelled its group."""
    place = Place(InFlight(1, max_queue=1, max_wait=LONG), clock=passing)
    first = place.admitted()
    with within(LONG / 2, passing) as deadline:
        monkeypatch.setattr(Waiter, "wait", lambda waiter, seconds: deadline.expire())
        with pytest.raises(DeadlineExceeded):
            place.gate.acquire()
    assert len(place.rooms) == 0
    leave(first)


def test_who_gives_up_hands_the_waking_on(pool: ThreadPoolExecutor) -> None:
    """A permit freed for a waiter that left at that instant goes to the next one."""
    rooms = WaitingRooms()
    gone, patient = rooms.enter("room", "fifo"), rooms.enter("room", "fifo")
    assert gone is not None
    assert patient is not None
    rooms.wake("room")  # meant for the one that is giving up
    woken = pool.submit(patient.wait, LONG)
    rooms.leave(gone)
    woken.result(LONG)
    assert rooms.is_next(patient)


def test_a_place_that_cannot_become_free_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit of 0 admits nothing however long a request waits; nor does a too narrow one."""
    monkeypatch.setattr(Waiter, "wait", asleep)
    closed = Place(InFlight(0, max_queue=1, max_wait=LONG))
    assert not closed.gate.acquire().decision.admitted
    limit = InFlight(2, max_queue=1, max_wait=LONG)
    gate = Gate([Limiter("narrow", "narrow", limit, lambda: "", cost=3)], MemoryStore())
    assert not gate.acquire().decision.admitted


def test_a_rate_is_not_waited_for(pool: ThreadPoolExecutor) -> None:
    """Only in-flight limits have a waiting room; a client over its rate is refused at once."""
    place = Place(Rate("1/minute"), InFlight(1, max_queue=1, max_wait=LONG))
    first = place.admitted()
    refused = place.gate.acquire()
    assert not refused.decision.admitted
    assert refused.decision.quota_exceeded
    leave(first)


def test_waiting_spends_no_rate(pool: ThreadPoolExecutor) -> None:
    """A request is charged when it is admitted, once."""
    place = Place(Rate("3/minute"), InFlight(1, max_queue=2, max_wait=LONG))
    first = place.admitted()
    waiter = place.waiting(pool)
    leave(first)
    answer = waiter.result(LONG)
    assert answer.decision.verdicts[0].remaining == 1
    leave(answer)


def test_some_threads_stay_free_to_refuse(pool: ThreadPoolExecutor) -> None:
    """If all of a server's threads waited, none could answer that it is busy."""
    place = Place(InFlight(1, max_queue=9, max_wait=LONG), server_threads=FREE_THREADS + 2)
    first = place.admitted()
    waiter = place.waiting(pool)
    assert not place.gate.acquire().decision.admitted
    leave(first)
    leave(waiter.result(LONG))


def test_the_threads_of_those_inside_are_not_free() -> None:
    """Four threads of six work: two are left, and no request waits in them."""
    place = Place(InFlight(4, max_queue=8, max_wait=LONG), server_threads=FREE_THREADS + 4)
    inside = [place.admitted() for _ in range(4)]
    assert not place.gate.acquire().decision.admitted
    for answer in inside:
        leave(answer)
        leave(answer)  # a second time changes nothing
    inside = [place.admitted() for _ in range(4)]
    assert not place.gate.acquire().decision.admitted
    for answer in inside:
        leave(answer)


def test_many_pass_through_a_narrow_gate(pool: ThreadPoolExecutor) -> None:
    """Sixteen threads and two permits: never more than two inside, and all get in."""
    place = Place(InFlight(2, max_queue=16, max_wait=LONG))
    inside, most, lock = [0], [0], threading.Lock()

    def visit() -> None:
        for _ in range(20):
            answer = place.gate.acquire()
            assert answer.decision.admitted
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1
            leave(answer)

    for visitor in [pool.submit(visit) for _ in range(16)]:
        visitor.result(LONG)
    assert 1 <= most[0] <= 2
    assert len(place.rooms) == 0
    leave(place.admitted())


WRONG = [
    ({"max_queue": 8}, "bounded by both"),
    ({"max_wait": 1.0}, "bounded by both"),
    ({"max_queue": -1, "max_wait": 1.0}, "max_queue=-1"),
    ({"max_queue": 8, "max_wait": float("inf")}, "no wait is endless"),
    ({"max_queue": 8, "max_wait": -1}, "max_wait=-1"),
    ({"max_queue": 8, "max_wait": "2s"}, "max_wait='2s'"),
    ({"order": "random"}, "order='random'"),
    ({"scope": "thread"}, "scope='thread'"),
]


@pytest.mark.parametrize(("options", "told"), WRONG)
def test_a_waiting_room_without_bounds_is_refused(options: dict[str, object], told: str) -> None:
    """Half a configuration would wait for ever, or never."""
    with pytest.raises(ConfigurationError, match=told):
        InFlight(8, **options)  # type: ignore[arg-type]
