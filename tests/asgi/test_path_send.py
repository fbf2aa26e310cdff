"""A server that can sends a file by its path, and only where that gives the same answer."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, send_file
from werkzeug.wsgi import wrap_file

from asgi_exchange import Answer, ask
from flask_concurrency import Concurrency
from flask_concurrency.asgi.interface import AsgiApplication

Run = Callable[[Coroutine[Any, Any, Any]], Any]
CONTENT = b"0123456789" * 50_000
ABLE: dict[str, Any] = {"extensions": {"http.response.pathsend": {}}}
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of several pieces."""
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def sends(app: Flask) -> Callable[[str, Callable[[], Any]], None]:
    """Have ``/`` answer with what a function returns, from a view of a kind."""

    def add(kind: str, answer: Callable[[], Any]) -> None:
        async def on_loop() -> Any:
            return answer()

        app.add_url_rule("/", view_func=on_loop if kind == "async" else answer, endpoint="file")

    return add


def whole(answer: Answer) -> None:
    """See that all of it came."""
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.get("content-length") == str(len(CONTENT))
    assert answer.complete


@BOTH
def test_a_whole_file_is_sent_by_its_path(
    kind: str, file: Path, sends: Any, asgi: AsgiApplication, run: Run
) -> None:
    """An absolute one, wherever the app stands; other servers get its pieces."""
    sends(kind, lambda: send_file(os.path.abspath(file)))
    answer = run(ask(asgi, "/", **ABLE))
    whole(answer)
    assert answer.paths == [str(file)]
    answer = run(ask(asgi, "/"))
    whole(answer)
    assert answer.paths == []


@BOTH
@pytest.mark.parametrize(
    ("method", "field", "status", "body"),
    [
        ("GET", ("Range", "bytes=5-9"), 206, b"56789"),
        ("GET", ("Range", "bytes=600000-"), 416, None),
        ("GET", ("If-None-Match", '"tag"'), 304, b""),
        ("HEAD", ("Accept", "*/*"), 200, b""),
    ],
    ids=["range", "bad range", "not modified", "head"],
)
def test_less_than_a_file_is_not(
    kind: str,
    method: str,
    field: tuple[str, str],
    status: int,
    body: bytes | None,
    file: Path,
    sends: Any,
    asgi: AsgiApplication,
    run: Run,
) -> None:
    """What is asked for is what comes."""
    sends(kind, lambda: send_file(os.path.abspath(file), etag="tag"))
    answer = run(ask(asgi, "/", method, fields=[field], **ABLE))
    assert answer.status == status
    assert body is None or answer.body == body
    assert answer.paths == []


def in_memory(file: Path) -> Any:
    return send_file(io.BytesIO(file.read_bytes()), mimetype="text/plain")


def removed(file: Path) -> Any:
    response = send_file(os.path.abspath(file))
    file.unlink()
    return response


def replaced(file: Path) -> Any:
    response = send_file(os.path.abspath(file))
    other = file.with_suffix(".new")
    other.write_bytes(b"x" * len(CONTENT))
    other.replace(file)
    return response


def by_descriptor(file: Path) -> Any:
    opened = open(os.open(file, os.O_RDONLY), "rb")  # noqa: SIM115 - closed with the response
    response = send_file(opened, mimetype="text/plain")
    response.content_length = len(CONTENT)
    return response


def temporary(file: Path) -> Any:
    opened = tempfile.NamedTemporaryFile()  # noqa: SIM115 - removed when the response is closed
    opened.write(file.read_bytes())
    opened.seek(0)
    return send_file(opened, mimetype="text/plain")


def read_already(file: Path) -> Any:
    longer = file.with_suffix(".longer")
    longer.write_bytes(b"head" + CONTENT)
    opened = open(longer, "rb")  # noqa: SIM115 - closed with the response
    opened.seek(4)
    response = send_file(opened, mimetype="text/plain")
    response.content_length = len(CONTENT)
    return response


@BOTH
@pytest.mark.parametrize(
    "answer", [in_memory, removed, replaced, by_descriptor, temporary, read_already]
)
def test_what_no_path_leads_to_is_read(
    kind: str,
    answer: Callable[[Path], Any],
    file: Path,
    sends: Any,
    asgi: AsgiApplication,
    run: Run,
) -> None:
    """The app opened it, and that is what is sent, whatever stands there now."""
    sends(kind, lambda: answer(file))
    said = run(ask(asgi, "/", **ABLE))
    assert (said.status, said.body, said.paths) == (200, CONTENT, [])


def test_a_permit_stays_until_the_last_piece(
    file: Path, app: Flask, concurrency: Concurrency, asgi: AsgiApplication, run: Run
) -> None:
    """A server does not tell when it has sent a file, so one that holds a permit is read."""

    @app.get("/")
    @concurrency.limit("1 in flight")
    def view() -> Any:
        return send_file(os.path.abspath(file))

    answer = run(ask(asgi, "/", **ABLE))
    whole(answer)
    assert answer.paths == []


def test_middleware_has_its_say(
    file: Path, app: Flask, sends: Any, asgi: AsgiApplication, run: Run
) -> None:
    """One that changes a body gets the body."""
    sends("sync", lambda: send_file(os.path.abspath(file)))
    inner = app.wsgi_app

    def upper(environ: Any, start_response: Any) -> Any:
        body = inner(environ, start_response)
        try:
            for piece in body:
                yield piece.replace(b"0", b"o")
        finally:
            body.close()  # type: ignore[attr-defined]

    app.wsgi_app = upper  # type: ignore[method-assign]
    answer = run(ask(asgi, "/", **ABLE))
    assert answer.body == CONTENT.replace(b"0", b"o")


def test_a_file_without_a_length_is_read(
    file: Path, app: Flask, sends: Any, asgi: AsgiApplication, run: Run
) -> None:
    """Its end would not be where the path's is, were something appended to it."""

    def view() -> Any:
        from flask import request

        return app.response_class(
            wrap_file(request.environ, file.open("rb")), direct_passthrough=True
        )

    sends("sync", view)
    answer = run(ask(asgi, "/", **ABLE))
    assert (answer.body, answer.paths) == (CONTENT, [])
