"""Where the age of a request comes from, and what happens where that fails."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from flask_concurrency.flask_app.http.arrivals import UNSEEN, Arrivals
from flask_concurrency.runtime.own_connections import OwnConnections, Waiting
from flask_concurrency.runtime.sock_diag import SockDiag
from flask_concurrency.runtime.tcp_info import UNKNOWN, Arrival
from flask_concurrency.testing.manual_clock import ManualClock

OLD = Arrival(0.7, False)
TCP = SimpleNamespace(family=socket.AF_INET, getsockopt=None)
UNIX = SimpleNamespace(family=socket.AF_UNIX, getsockopt=None)
SCOPE: dict[str, Any] = {
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 50_000),
    "headers": [(b"host", b"localhost")],
}


def some() -> int:
    """Requests are inside the app."""
    return 5


def none() -> int:
    """No request is."""
    return 0


class Diag(SockDiag):
    """Answers as told."""

    def __init__(self, answer: Arrival | Exception | None = OLD) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[str, int, str, int]] = []

    def arrival(self, *addresses: Any) -> Arrival | None:
        """The reported arrival."""
        self.asked.append(addresses)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def connections(*waiting: Waiting, error: OSError | None = None) -> OwnConnections:
    """Own connections of which these wait."""

    def look(now: float) -> list[Waiting]:
        if error is not None:
            raise error
        return list(waiting)

    return OwnConnections(look, clock=lambda: 10.0)


def no(number: int) -> OSError:
    """The kernel says no."""
    return OSError(number, "no")


def refusing(number: int) -> Any:
    """Reads no socket."""

    def read(connection: Any) -> Arrival:
        raise no(number)

    return read


def make(**options: Any) -> Arrivals:
    """Arrivals for which nothing works that is not told."""
    told = {
        "works": True,
        "read_socket": refusing(errno.EPERM),
        "sock_diag": Diag(no(errno.EPERM)),
        "connections": connections(error=no(errno.EPERM)),
        "knows_lag": False,
        "clock": lambda: 10.0,
    }
    return Arrivals(**{**told, **options})


@pytest.mark.parametrize(
    "environ",
    [
        {"gunicorn.socket": TCP},
        {"werkzeug.socket": TCP},
        {"waitress.client_disconnected": SimpleNamespace(__self__=SimpleNamespace(socket=TCP))},
    ],
    ids=["gunicorn", "werkzeug", "waitress"],
)
def test_a_socket_that_is_handed_over_comes_first(environ: dict[str, Any]) -> None:
    """The kernel is asked through it."""
    arrivals = make(read_socket=lambda connection: OLD)
    assert arrivals.of_environ(environ, 10.0, none) == OLD
    assert arrivals.source == "socket"


def test_a_server_that_hands_nothing_over_has_connections() -> None:
    """The one that waited longest comes in."""
    arrivals = make(connections=connections(Waiting(3, 9.3)))
    assert arrivals.of_environ({}, 10.0, some).age == pytest.approx(0.7)
    assert arrivals.source == "connections"


def test_an_idle_server_is_not_looked_at_again() -> None:
    """A request that comes long after the last one ended cannot have waited for it."""
    looks: list[float] = []

    def look(now: float) -> list[Waiting]:
        looks.append(now)
        return []

    arrivals = make(connections=OwnConnections(look))
    for second in range(10, 20):
        arrival = arrivals.of_environ({}, float(second), none)
        arrivals.ended(arrival, second + 0.1)
    assert len(looks) == 1  # to know that it can be done


def test_a_thread_that_was_held_up_does_not_make_a_busy_server_look_idle() -> None:
    """It comes with an instant of long ago; what others ended since then still counts."""
    clock = ManualClock(10.0)
    looks: list[float] = []

    def look(now: float) -> list[Waiting]:
        looks.append(now)
        return []

    arrivals = make(connections=OwnConnections(look, clock))
    arrivals.of_environ({}, clock(), some)
    clock.advance(0.1)
    arrivals.ended(UNKNOWN, clock())
    arrivals.ended(UNKNOWN, 10.01)
    clock.advance(0.003)
    arrivals.of_environ({}, clock(), none)
    assert looks == [pytest.approx(10.0), pytest.approx(10.103)]


def test_a_server_is_not_idle_while_requests_are_known_to_wait() -> None:
    """Nothing ends while a thousand connections are looked at."""
    arrivals = make(connections=connections(Waiting(3, 9.2), Waiting(4, 9.3)))
    assert arrivals.of_environ({}, 10.0, none).age == pytest.approx(0.8)
    arrivals.ended(UNKNOWN, 10.0)
    assert arrivals.of_environ({}, 10.02, none).age == pytest.approx(0.7)


class Cycle:
    """One request of an ASGI server, behind which its connection stands.

    :param connection: What the transport says its socket is.
    """

    def __init__(self, connection: object) -> None:
        self.transport = SimpleNamespace(get_extra_info={"socket": connection}.get)

    async def receive(self) -> None:
        """What the server gives with the scope."""


class Body:
    """The same, where it is the protocol that has the connection."""

    def __init__(self, connection: object) -> None:
        self.protocol = Cycle(connection)

    async def receive(self) -> None:
        """What the server gives with the scope."""


@pytest.mark.parametrize("server", [Cycle, Body], ids=["uvicorn", "gunicorn"])
def test_an_asgi_server_may_have_the_socket_behind_what_it_gives(server: Any) -> None:
    """The kernel answers through it in less time than by addresses."""
    diag = Diag()
    arrivals = make(read_socket=lambda connection: OLD, sock_diag=diag)
    assert arrivals.of_scope(SCOPE, server(TCP).receive, 10.0, none) == OLD
    assert arrivals.source == "socket"
    assert diag.asked == []


@pytest.mark.parametrize(
    "receive",
    [None, Cycle(None).receive, Cycle(object()).receive, [].append],
    ids=["none", "closed", "no socket", "another's"],
)
def test_an_asgi_server_without_a_socket_is_asked_for_addresses(receive: object) -> None:
    """A middleware may stand between, and a connection that is closed has none."""
    arrivals = make(read_socket=lambda connection: UNKNOWN, sock_diag=Diag())
    assert arrivals.of_scope(SCOPE, receive, 10.0, none) == OLD
    assert arrivals.source == "sock_diag"


def test_an_asgi_server_tells_both_addresses() -> None:
    """granian gives the client's port as text."""
    diag = Diag()
    arrivals = make(sock_diag=diag)
    assert arrivals.of_scope(SCOPE, None, 10.0, none) == OLD
    assert arrivals.of_scope({**SCOPE, "client": ("127.0.0.1", "50000")}, None, 10.0, none) == OLD
    assert diag.asked == [("127.0.0.1", 8000, "127.0.0.1", 50_000)] * 2
    assert arrivals.source == "sock_diag"


@pytest.mark.parametrize(
    "told",
    [
        {"client": None},
        {"server": None},
        {"server": ("/run/app.sock", None)},
        {"client": ("203.0.113.9", 0)},
        {"client": ("203.0.113.9", "none")},
        {"client": ("203.0.113.9", 1 << 20)},
        {"client": ("", 50_000)},
    ],
)
def test_addresses_that_are_missing_or_made_up_are_not_asked_for(told: dict[str, Any]) -> None:
    """As behind a proxy whose word uvicorn takes, or on a Unix socket."""
    diag = Diag()
    arrivals = make(sock_diag=diag, connections=connections(Waiting(3, 9.5)))
    assert arrivals.of_scope({**SCOPE, **told}, None, 10.0, some).age == pytest.approx(0.5)
    assert diag.asked == []


def test_addresses_that_the_kernel_never_knows_are_given_up() -> None:
    """They are a proxy's; one that is not known is only a client that has left."""
    diag = Diag(None)
    arrivals = make(sock_diag=diag, connections=connections(Waiting(3, 9.5)))
    for _ in range(UNSEEN - 1):
        assert arrivals.of_scope(SCOPE, None, 10.0, some) is UNKNOWN
    assert arrivals.of_scope(SCOPE, None, 10.0, some).age == pytest.approx(0.5)
    assert arrivals.source == "connections"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_kernel_that_says_no_is_asked_once(number: int, caplog: pytest.LogCaptureFixture) -> None:
    """One line of the log for each step down, and no request fails."""
    diag = Diag(no(number))
    arrivals = make(
        read_socket=refusing(number),
        sock_diag=diag,
        connections=connections(error=no(number)),
    )
    with caplog.at_level(logging.WARNING, logger="flask_concurrency.overload"):
        for _ in range(5):
            assert arrivals.of_environ({"gunicorn.socket": TCP}, 10.0, some) == UNKNOWN
            assert arrivals.of_scope(SCOPE, None, 10.0, some) == UNKNOWN
    assert len(diag.asked) == 1
    assert len(caplog.records) == 3
    assert all("the next best is used" in each.getMessage() for each in caplog.records)


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.ECONNRESET, errno.EBADF, errno.EAGAIN])
def test_an_error_of_one_connection_is_of_no_other(number: int) -> None:
    """A client that left at that moment does not make all others' ages unknown."""
    diag = Diag(no(number))
    arrivals = make(read_socket=refusing(number), sock_diag=diag)
    assert arrivals.of_environ({"gunicorn.socket": TCP}, 10.0, some) is UNKNOWN
    assert arrivals.of_scope(SCOPE, None, 10.0, some) is UNKNOWN
    diag.answer = OLD
    assert arrivals.of_scope(SCOPE, None, 10.0, some) == OLD


def test_a_unix_socket_beside_a_tcp_one() -> None:
    """It has no age, and the other one keeps its own."""

    def read(connection: Any) -> Arrival:
        if connection is UNIX:
            raise no(errno.EOPNOTSUPP)
        return OLD

    arrivals = make(read_socket=read)
    assert arrivals.of_environ({"gunicorn.socket": UNIX}, 10.0, some) == UNKNOWN
    assert arrivals.of_environ({"gunicorn.socket": TCP}, 10.0, some) == OLD


def test_a_platform_without_it_is_not_asked() -> None:
    """macOS and Windows go to the next step without an error."""
    diag = Diag()
    arrivals = make(works=False, read_socket=lambda connection: OLD, sock_diag=diag)
    assert arrivals.of_environ({"gunicorn.socket": TCP}, 10.0, some) is UNKNOWN
    assert arrivals.of_scope(SCOPE, None, 10.0, some) is UNKNOWN
    assert diag.asked == []


def test_a_proxy_that_is_trusted_tells_the_age() -> None:
    """Where the kernel cannot; and a client's own header is ignored."""
    started = f"t={time.time() - 5.0:.3f}"
    environ = {"HTTP_X_REQUEST_START": started}
    scope = {**SCOPE, "headers": [(b"x-request-start", started.encode())]}
    trusting = make(trusts_proxy=True)
    assert trusting.of_environ(environ, 10.0, some).age == pytest.approx(5.0, abs=1.0)
    assert trusting.source == "X-Request-Start"
    assert trusting.of_scope(scope, None, 10.0, some).age == pytest.approx(5.0, abs=1.0)
    doubting = make()
    assert doubting.of_environ(environ, 10.0, some) is UNKNOWN
    assert doubting.of_scope(scope, None, 10.0, some) is UNKNOWN


@pytest.mark.parametrize("value", ["", "soon", "t=-5", "t=nan", "t=1e999", "0", "\udcff"])
def test_a_proxy_that_writes_nonsense_tells_nothing(value: str) -> None:
    """No request fails for it."""
    assert (
        make(trusts_proxy=True).of_environ({"HTTP_X_REQUEST_START": value}, 10.0, some) is UNKNOWN
    )


def test_the_kernel_is_believed_before_a_proxy() -> None:
    """A client can write the header where there is no proxy."""
    arrivals = make(trusts_proxy=True, read_socket=lambda connection: OLD)
    environ = {"gunicorn.socket": TCP, "HTTP_X_REQUEST_START": "t=1000000000.0"}
    assert arrivals.of_environ(environ, 10.0, some) == OLD


def test_lag_is_the_last_step() -> None:
    """Of the loop that a request came on; else of the interpreter."""
    arrivals = make(knows_lag=True)

    async def on_loop() -> str | None:
        arrivals.of_scope(SCOPE, None, 10.0, some)
        return arrivals.source

    assert asyncio.run(on_loop()) == "loop lag"
    arrivals.of_environ({}, 10.0, some)
    assert arrivals.source == "interpreter lag"


def test_the_step_that_is_in_force_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """So that an operator sees what ages are made of."""
    arrivals = make(read_socket=lambda connection: OLD)
    with caplog.at_level(logging.INFO, logger="flask_concurrency.overload"):
        for _ in range(5):
            arrivals.of_environ({"gunicorn.socket": TCP}, 10.0, none)
    assert [each.getMessage() for each in caplog.records] == [
        "The age of requests comes from the kernel, through the server's socket."
    ]
