"""Who came first, from all connections of a process: each request is given one age only."""

from __future__ import annotations

import errno

import pytest

from flask_concurrency.runtime.own_connections import EVERY, OLDEST, OwnConnections, Waiting
from flask_concurrency.runtime.tcp_info import UNKNOWN, Arrival
from flask_concurrency.testing.manual_clock import ManualClock


class Server:
    """Connections by number, with the instants at which something came in."""

    def __init__(self) -> None:
        self.waiting: dict[int, float] = {}
        self.looks = 0
        self.now = 0.0
        self.connections = OwnConnections(self.look, clock=lambda: self.now)

    def look(self, now: float) -> list[Waiting]:
        """All that waits."""
        self.looks += 1
        return [Waiting(number, at) for number, at in self.waiting.items()]

    def ages(self, now: float, count: int) -> list[float]:
        """The ages of so many requests that come in now."""
        return [round(self.arrival(now).age, 3) for _ in range(count)]

    def arrival(self, now: float) -> Arrival:
        """How one came that comes in now."""
        self.now = now
        return self.connections.arrival()


@pytest.fixture
def server() -> Server:
    """A process with connections."""
    return Server()


def test_the_oldest_comes_first(server: Server) -> None:
    """Each gets the next age; when all are given, requests are as young as can be."""
    server.waiting = {3: 9.5, 4: 9.9, 5: 9.7}
    assert server.ages(10.0, 4) == [0.5, 0.3, 0.1, 0.0]
    assert server.looks == 1


def test_one_that_came_after_the_look_is_about_as_old_as_the_one_before(server: Server) -> None:
    """But never older than the look; and young once a look finds that nothing waits."""
    server.waiting = {3: 9.9}
    assert server.ages(10.0, 1) == [0.1]
    estimates = [server.arrival(10.0 + at) for at in (0.01, 0.04)]
    assert [round(each.age, 3) for each in estimates] == [0.01, 0.04]
    server.waiting = {4: 10.01, 5: 10.04, 6: 10.06}  # the first two are inside, and were given none
    assert server.ages(10.1, 1) == [0.04]
    for each in estimates:
        server.connections.ended(each)
    server.waiting = {}
    assert server.ages(10.2, 1) == [0.0]


def test_it_looks_now_and_then(server: Server) -> None:
    """However many requests come."""
    for millisecond in range(1_000):
        server.arrival(10.0 + millisecond / 1_000)
    assert server.looks <= 1 + 1 / EVERY


def test_what_is_inside_is_not_given_again(server: Server) -> None:
    """Its answer has not gone out yet, so it looks as if it waited."""
    server.waiting = {3: 9.5, 4: 9.9}
    assert server.ages(10.0, 1) == [0.5]
    assert server.ages(10.1, 2) == [0.2, 0.0]


def test_a_connection_that_is_used_again_waits_anew(server: Server) -> None:
    """The next request on a kept connection is another arrival."""
    server.waiting = {3: 9.5}
    assert server.ages(10.0, 1) == [0.5]
    server.waiting = {3: 10.05}
    assert server.ages(10.1, 1) == [0.05]


def test_those_inside_that_were_given_none_came_first(server: Server) -> None:
    """A request that found no age is among those that wait for their answer."""
    (inside,) = [server.arrival(10.0)]
    assert inside is UNKNOWN
    server.waiting = {3: 9.99, 4: 10.05}
    assert server.ages(10.1, 1) == [0.05]
    server.connections.ended(inside)
    server.waiting = {5: 10.15}
    assert server.ages(10.2, 1) == [0.05]


def test_one_that_never_is_answered_is_given_once(server: Server) -> None:
    """A client that listens, or an app beside ours, disturbs one request and no more."""
    server.waiting = {3: 9.0}
    assert server.ages(10.0, 1) == [1.0]
    for step in range(1, 100):
        assert server.ages(10.0 + step * EVERY, 1) == [0.0]
        server.connections.ended(UNKNOWN)


def test_what_waits_for_ages_is_no_request(server: Server) -> None:
    """It would be refused, and all others with it."""
    server.waiting = {3: 10.0}
    assert server.ages(10.0 + OLDEST + 1.0, 1) == [0.0]


def test_readings_of_one_arrival_may_differ(server: Server) -> None:
    """Two clocks are read one after the other, and the kernel's ticks."""
    server.waiting = {3: 9.5}
    assert server.ages(10.0, 1) == [0.5]
    server.waiting = {3: 9.508}
    assert server.ages(10.1, 1) == [0.0]


def test_a_request_that_cannot_have_waited_costs_no_look(server: Server) -> None:
    """On an idle app nothing is read."""
    for _ in range(10):
        arrival = server.connections.idle()
        server.connections.ended(arrival)
    assert server.looks == 0


def test_an_age_counts_until_it_is_given(server: Server) -> None:
    """A look takes milliseconds, and others wait for it: those have waited longer, too."""

    def slow(now: float) -> list[Waiting]:
        server.now += 0.03
        return [Waiting(3, 9.5), Waiting(4, 9.6)]

    server.connections = OwnConnections(slow, clock=lambda: server.now)
    assert server.ages(10.0, 1) == [0.53]
    assert round(server.connections.arrival().age, 3) == 0.43


def test_it_tells_whether_any_that_it_found_still_wait(server: Server) -> None:
    """Until each has come in."""
    server.waiting = {3: 9.5, 4: 9.9}
    server.arrival(10.0)
    assert server.connections.waits
    server.arrival(10.01)
    assert not server.connections.waits


def test_ages_are_never_negative(server: Server) -> None:
    """Whatever the clocks say."""
    server.waiting = {3: 10.004}
    assert server.ages(10.0, 1) == [0.0]


def test_a_kernel_that_says_no_is_heard() -> None:
    """The caller takes the next step down."""

    def refuse(now: float) -> list[Waiting]:
        raise OSError(errno.EPERM, "no")

    with pytest.raises(OSError, match="no"):
        OwnConnections(refuse).arrival()


def test_given_ages_need_no_end() -> None:
    """Their connections show when they are answered."""
    clock = ManualClock(10.0)
    connections = OwnConnections(lambda now: [Waiting(3, 9.5)], clock)
    arrival = connections.arrival()
    connections.ended(arrival)
    assert arrival == Arrival(0.5, False)
    clock.advance(0.1)
    assert connections.arrival().age == 0.0
