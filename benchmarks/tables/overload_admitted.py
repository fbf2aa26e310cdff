"""Measure what an adaptive limit takes of a request, admitted or refused, all in one process."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import sample

from flask import Flask

from benchmarks.asgi_call import scope_of
from benchmarks.benchmark import Trial
from benchmarks.overload.app import bare_wsgi
from benchmarks.tables.added import BATCHES, FEW, QUICKER, REQUESTS
from benchmarks.tables.rates import hello
from benchmarks.wsgi_call import requests_to
from flask_concurrency import Concurrency
from flask_concurrency.flask_app.http.overload_responses import OverloadResponse
from flask_concurrency.flask_app.overload.control import Admitted, OverloadControl


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over the loopback, its server's end first, on which bytes have come in."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        yield server, client


def app_of(limit: str | None) -> tuple[Flask, OverloadControl | None]:
    """An app with one view and a limit before it."""
    app = Flask(__name__)
    Concurrency(app, store="memory://", app_limits=limit)
    app.get("/")(lambda: hello())
    requests_to(app)()  # what stands before it is made with the first request
    return app, app.extensions["concurrency"].front.control


def measure(quick: bool) -> list[list[str]]:
    """All in turn, many times."""
    rows = [["", "µs", "added µs"]]
    with connection() as (server, client), connection() as (old, old_client):
        calls: dict[str, Callable[[], object]] = {}
        calls["a request without a limit"] = requests_to(app_of(None)[0])
        by_socket, _ = app_of("adaptive")
        calls["with an adaptive one, age by the socket"] = requests_to(
            by_socket, environ={"gunicorn.socket": server}
        )
        for name, make in (
            ("WSGI", _on_wsgi),
            ("ASGI, age by the socket", _on_asgi),
            ("ASGI, age by addresses", partial(_on_asgi, hands_over=False)),
        ):
            control = app_of("adaptive")[1]
            assert control is not None
            calls[f"only the guards, {name}"] = make(control, server, client)
        refusing = app_of("adaptive")
        assert refusing[1] is not None
        calls["a refusal, WSGI"] = requests_to(
            refusing[0], environ={"gunicorn.socket": old}, status="503 Service Unavailable"
        )
        calls["a refusal by a function that does nothing else"] = requests_to(
            bare_wsgi, status="503 Service Unavailable"
        )
        calls["only the guards, refusing on ASGI"] = _refusing_on_asgi(refusing[1], old, old_client)
        _let_a_queue_stand(refusing[1], old)
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(FEW if quick else BATCHES):
            for name in sample(list(calls), len(calls)):
                client.send(b".")  # it is as young as a request
                begun_at = time.perf_counter()
                for _ in range(REQUESTS):
                    calls[name]()
                spent[name].append((time.perf_counter() - begun_at) / REQUESTS)
    told = {name: sorted(times)[len(times) // QUICKER] * 1e6 for name, times in spent.items()}
    without = told["a request without a limit"]
    for name, each in told.items():
        whole = name.startswith(("a request", "with "))
        added = each - without if whole else each
        rows.append([name, f"{each:.1f}", "" if each is without else f"{added:+.1f}"])
    return rows


class _Cycle:
    """A request as uvicorn keeps it, with the connection's socket behind it."""

    def __init__(self, connection: socket.socket) -> None:
        transport_socket = asyncio.trsock.TransportSocket(connection)
        self.transport = asyncio.Transport({"socket": transport_socket})

    async def receive(self) -> dict[str, object]:
        """What goes with the scope; never called here."""
        raise NotImplementedError


def _on_wsgi(
    control: OverloadControl, server: socket.socket, client: socket.socket
) -> Callable[[], object]:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "REMOTE_ADDR": "127.0.0.1",
        "gunicorn.socket": server,
    }

    def admit_and_release() -> None:
        admitted = control.admit_wsgi(environ)
        assert isinstance(admitted, Admitted)
        admitted.release()

    return admit_and_release


def _on_asgi(
    control: OverloadControl,
    server: socket.socket,
    client: socket.socket,
    *,
    hands_over: bool = True,
) -> Callable[[], object]:
    receive = _Cycle(server).receive if hands_over else _receive
    scope = {**scope_of("/"), "server": server.getsockname(), "client": client.getsockname()}

    def admit_and_release() -> None:
        admitted = control.admit_asgi(scope, receive)
        assert isinstance(admitted, Admitted)
        admitted.release()

    return admit_and_release


def _refusing_on_asgi(
    control: OverloadControl, server: socket.socket, client: socket.socket
) -> Callable[[], object]:
    scope = {**scope_of("/"), "server": server.getsockname(), "client": client.getsockname()}

    receive = _Cycle(server).receive

    def refuse() -> None:
        assert isinstance(control.admit_asgi(scope, receive), OverloadResponse)

    return refuse


async def _receive() -> dict[str, object]:
    """What a server gives that hands no socket over; never called here."""
    raise NotImplementedError


def _let_a_queue_stand(control: OverloadControl, old: socket.socket) -> None:
    """Ask with the age of a connection on which nothing comes in, until it is too old."""
    environ = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "", "gunicorn.socket": old}
    while isinstance(outcome := control.admit_wsgi(environ), Admitted):
        outcome.release()
        time.sleep(0.02)


TRIALS = (Trial("overload-admitted", "what an adaptive limit takes of a request", measure),)
