"""Thirty thousand random requests in all, each ending in its own way, leak no permit."""

from __future__ import annotations

import fcntl
import gc
import itertools
import mmap
import os
import random
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, abort, send_file
from werkzeug.test import create_environ

from flask_concurrency import Concurrency, InFlight

REQUESTS = {"memory://": 15_000, "host://": 10_000, "kills": 5_000}

WORKERS = 4
KILLS = 30
VISITS_TOLD = 20
"""Requests after which a worker reports that it is there."""
TOLD_BETWEEN_KILLS = 16
SEEN = struct.Struct("@II")
"""What a worker has written about itself: its requests, and the answers it holds open."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def make_app(store: str, scratch: Path) -> tuple[Flask, Concurrency]:
    app = Flask(__name__)
    app.config["CONCURRENCY_STORE"] = store
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True
    concurrency = Concurrency(app)
    limited = concurrency.limit(InFlight(4), name="places")

    def view(path: str) -> Callable[[Any], Any]:
        return lambda function: app.get(path, endpoint=path)(limited(function))

    @view("/ok")
    def ok() -> str:
        return "ok"

    @view("/raises")
    def raises() -> str:
        raise ZeroDivisionError

    @view("/aborts")
    def aborts() -> str:
        abort(418)

    @view("/exits")
    def exits() -> str:
        raise SystemExit

    @view("/stream")
    def stream() -> Response:
        return Response(iter(["a", "b", "c"]))

    @view("/broken")
    def broken() -> Response:
        def chunks() -> Iterator[str]:
            yield "a"
            raise ZeroDivisionError

        return Response(chunks())

    @view("/file")
    def file() -> Response:
        return send_file(BytesIO(b"hello"), mimetype="text/plain")

    @view("/block")
    def block() -> str:
        with concurrency.limit("2 in flight", name="inner"):
            return "ok"

    @view("/both")
    def both() -> str:
        inner = concurrency.limit("2 in flight", name="inner")
        with inner, inner:
            return "ok"

    return app, concurrency


PATHS = ["/ok", "/raises", "/aborts", "/exits", "/stream", "/broken", "/file", "/block", "/none"]


class Visitor:
    """A client that requests any path and leaves in any way, with up to six answers open.

    :ivar held: Answers that are open.
    """

    def __init__(self, app: Flask, chance: random.Random) -> None:
        self._app = app
        self._chance = chance
        self._environs = {
            (path, method): create_environ(path, method=method)
            for path in PATHS
            for method in ("GET", "HEAD")
        }
        self.held: list[Any] = []

    def visit(self) -> None:
        """One request; some of those before it end."""
        chance = self._chance
        key = (chance.choice(PATHS), chance.choice(("GET", "GET", "HEAD")))
        environ = dict(self._environs[key])
        try:
            body = self._app(environ, lambda status, headers, exc_info=None: lambda data: None)
        except SystemExit:
            return
        self.held.append(body)
        while len(self.held) > chance.randrange(6):
            self._end(self.held.pop(chance.randrange(len(self.held))))

    def leave(self) -> None:
        """End all that is open."""
        while self.held:
            self._end(self.held.pop())
        gc.collect()  # the body of an error that is dropped, not closed, is part of a cycle

    def _end(self, body: Any) -> None:
        ending = self._chance.randrange(4)
        try:
            if ending == 0:
                list(body)
            elif ending == 1:
                next(iter(body), None)
        except ZeroDivisionError:
            pass
        finally:
            if ending != 3:  # else it is dropped without being closed
                body.close()


def assert_all_places_are_free(app: Flask) -> None:
    """As many requests are admitted as there are permits, and not one more."""
    with ExitStack() as inside:
        for _ in range(4):
            answer = app.test_client().get("/stream", buffered=False)
            assert inside.enter_context(answer).status_code == 200
        assert app.test_client().get("/stream").status_code == 503
    assert app.test_client().get("/both").status_code == 200


@pytest.mark.parametrize("store", ["memory://", "host://"])
def test_a_great_many_endings_leak_no_permit(store: str, tmp_path: Path) -> None:
    """Errors, streams read and abandoned, bodies dropped, refusals; up to six at a time."""
    app, _ = make_app(store, tmp_path)
    visitor = Visitor(app, random.Random(2))
    for _ in range(REQUESTS[store]):
        visitor.visit()
    visitor.leave()
    assert_all_places_are_free(app)


def test_kills_leak_no_permit(tmp_path: Path) -> None:
    """Workers of one host are killed in the middle of anything, most of them holding permits."""
    board = mmap.mmap(-1, (KILLS + WORKERS) * SEEN.size)  # what each worker has done, and holds
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)  # no worker runs far ahead of the killer

    def work(number: int) -> None:
        app, _ = make_app("host://", tmp_path)
        visitor = Visitor(app, random.Random(number))
        for visits in itertools.count(1):
            visitor.visit()
            SEEN.pack_into(board, number * SEEN.size, visits, len(visitor.held))
            if visits % VISITS_TOLD == 0:
                os.write(writing, b"!")

    chance = random.Random(3)
    numbers = itertools.count()
    workers = [start(work, next(numbers)) for _ in range(WORKERS)]
    for _ in range(KILLS):
        for _ in range(chance.randrange(1, 2 * TOLD_BETWEEN_KILLS)):
            os.read(reading, 1)
        kill(workers.pop(chance.randrange(WORKERS)))
        workers.append(start(work, next(numbers)))
    for worker in workers:
        kill(worker)
    for descriptor in (reading, writing):
        os.close(descriptor)

    visits, held = zip(*SEEN.iter_unpack(board), strict=True)
    assert sum(visits) > REQUESTS["kills"], visits
    assert sum(map(bool, held)) > KILLS / 2, held
    app, _ = make_app("host://", tmp_path)
    assert_all_places_are_free(app)


def start(work: Callable[[int], None], number: int) -> int:
    """Run ``work`` in a forked process; gives its id."""
    child = os.fork()
    if child == 0:
        try:
            work(number)
        finally:
            os._exit(1)
    return child


def kill(worker: int) -> None:
    """End a process of ours at whatever it does."""
    os.kill(worker, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGKILL
