"""Blocking bodies of async views: not behind plain views, on one thread, files in large pieces."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, send_file

from asgi_exchange import ask
from flask_concurrency import Concurrency
from flask_concurrency.asgi.file_pieces import FILE_PIECE

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def app() -> Flask:
    """An app whose pool has one thread, and one slot in its queue."""
    app = Flask("asgi")
    app.testing = True
    app.config["CONCURRENCY_THREADS"] = {"max_workers": 1, "max_queue": 1}
    return app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One of three pieces."""
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * (2 * FILE_PIECE // 256) + b"end")
    return path


def test_a_body_does_not_wait_for_plain_views(
    app: Flask, concurrency: Concurrency, file: Path, run: Run
) -> None:
    """All threads of requests are taken and their queue is full: it is read all the same."""

    @app.get("/file")
    async def as_file() -> Response:
        return send_file(file)

    @app.get("/rows")
    async def rows() -> Response:
        return Response(str(n) for n in range(3))

    asgi, go_on = concurrency.asgi_app(app), threading.Event()

    async def story() -> None:
        busy = [concurrency.threads.submit(go_on.wait, 30) for _ in range(2)]
        try:
            assert (await ask(asgi, "/file")).body == file.read_bytes()
            assert (await ask(asgi, "/rows")).body == b"012"
        finally:
            go_on.set()
        await asyncio.gather(*map(asyncio.wrap_future, busy))

    run(story())


def test_a_generator_runs_on_one_thread_from_start_to_end(
    app: Flask, concurrency: Concurrency, run: Run
) -> None:
    """What belongs to a thread, such as a SQLite connection, works among others of its kind."""
    met = threading.Barrier(4, timeout=30)

    @app.get("/rows")
    async def rows() -> Response:
        def read() -> Iterator[str]:
            connection = sqlite3.connect(":memory:")
            try:
                for (n,) in connection.execute("values (1), (2), (3)"):
                    met.wait()
                    yield str(n)
            finally:
                connection.close()

        return Response(read())

    asgi = concurrency.asgi_app(app)

    async def story() -> None:
        answers = await asyncio.gather(*(ask(asgi, "/rows") for _ in range(4)))
        assert [answer.body for answer in answers] == [b"123"] * 4

    run(story())


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_files_go_out_in_large_pieces(
    app: Flask, concurrency: Concurrency, file: Path, run: Run, kind: str
) -> None:
    """Each piece is a trip between a thread and the loop; a range of a file is sent as such."""

    def plain() -> Response:
        return send_file(file)

    async def on_loop() -> Response:
        return send_file(file)

    app.add_url_rule("/", view_func=on_loop if kind == "async" else plain)
    asgi = concurrency.asgi_app(app)

    async def story() -> None:
        answer = await ask(asgi, "/")
        assert answer.body == file.read_bytes()
        assert [len(piece) for piece in answer.parts if piece] == [FILE_PIECE, FILE_PIECE, 3]
        part = await ask(asgi, "/", fields=[("Range", "bytes=1000-400000")])
        assert part.status == 206
        assert part.body == file.read_bytes()[1000:400_001]

    run(story())


def test_a_body_that_is_dropped_frees_its_thread(
    app: Flask, concurrency: Concurrency, run: Run
) -> None:
    """However often it happens, as after errors in the middle."""

    @app.get("/")
    async def view() -> Response:
        def fail() -> Iterator[str]:
            yield "one"
            raise ValueError("in the middle")

        return Response(fail())

    asgi = concurrency.asgi_app(app)
    bodies = app.extensions["concurrency"].executors.bodies

    async def story() -> None:
        for _ in range(3):
            with pytest.raises(ValueError, match="in the middle"):
                await ask(asgi, "/")
        assert bodies.drain(30) == []

    run(story())
    assert bodies.snapshot().busy == 0
