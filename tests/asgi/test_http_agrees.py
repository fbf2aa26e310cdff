"""One table of HTTP behaviours: the same app answers the same on WSGI, on ASGI and on servers."""

from __future__ import annotations

import json
import runpy
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from werkzeug.test import create_environ, run_wsgi_app

from asgi_exchange import ask

ROOT = Path(__file__).parents[2]
APP = "tests/apps/http_behaviours"
PER_SERVER = {"date", "server", "connection", "transfer-encoding", "keep-alive"}
"""Fields that each server sets by itself."""

Field = tuple[str, str]
Said = tuple[int, bytes, set[Field]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@dataclass(frozen=True)
class Behaviour:
    """A request and what is expected of its answer, sync or async.

    :ivar body: The whole body; ``None`` for any.
    :ivar has: Fields that must be among those of the answer.
    """

    request: str
    status: int = 200
    body: bytes | None = None
    has: tuple[Field, ...] = ()
    fields: tuple[Field, ...] = ()
    data: bytes = b""


def shown(value: object) -> bytes:
    """JSON as Flask writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\nfile\r\n--x--\r\n'
)
BEHAVIOURS = {
    "plain": Behaviour("GET /hello", body=b"Hello, World!", has=(("content-length", "13"),)),
    "query": Behaviour("GET /hello?name=%C3%A9%20%2B", body="Hello, é +!".encode()),
    "head": Behaviour("HEAD /hello", body=b"", has=(("content-length", "13"),)),
    "head-stream": Behaviour("HEAD /stream", body=b""),
    "options": Behaviour("OPTIONS /hello", body=b""),
    "missing": Behaviour("GET /nowhere", 404),
    "wrong-method": Behaviour("DELETE /hello", 405),
    "slash": Behaviour("GET /slash", 308),
    "path": Behaviour(
        "GET /path/a%20b%2Fc/%E4%BD%A0",
        body=shown({"info": "@/path/a b/c/\xe4\xbd\xa0", "rest": "a b/c/你", "script": ""}),
    ),
    "odd-path": Behaviour("GET /path/%FF", body=None),
    "fields": Behaviour(
        "GET /headers",
        body=shown({"many": "1,2", "odd": "\xe9"}),
        fields=(("X-Many", "1"), ("X-Many", "2"), ("X-Odd", "\xe9")),
    ),
    "cookies": Behaviour("GET /cookies", body=shown({"a": "1"}), fields=(("Cookie", "a=1"),)),
    "session": Behaviour("GET /visits", body=b"1"),
    "echo": Behaviour("POST /echo", body=b"\x00\xff" * 100, data=b"\x00\xff" * 100),
    "empty": Behaviour("POST /echo", body=b""),
    "large-echo": Behaviour("PUT /echo", body=b"z" * 150_000, data=b"z" * 150_000),
    "form": Behaviour(
        "POST /form",
        body=shown({"files": {}, "form": {"a": "1", "b": "é"}}),
        data=b"a=1&b=%C3%A9",
        fields=(("Content-Type", "application/x-www-form-urlencoded"),),
    ),
    "multipart": Behaviour(
        "POST /form",
        body=shown({"files": {"f": "file"}, "form": {"a": "1"}}),
        data=MULTIPART,
        fields=(("Content-Type", "multipart/form-data; boundary=x"),),
    ),
    "lines": Behaviour(
        "POST /lines", body=shown([3, 70_001, 1]), data=b"ab\n" + b"c" * 70_000 + b"\nd"
    ),
    "json": Behaviour(
        "POST /json",
        body=shown({"a": [1]}),
        data=b'{"a": [1]}',
        fields=(("Content-Type", "application/json"),),
    ),
    "bad-json": Behaviour(
        "POST /json", 400, data=b"{", fields=(("Content-Type", "application/json"),)
    ),
    "too-large": Behaviour("POST /echo", 413, data=b"x" * 200_001),
    "too-large-unread": Behaviour("POST /unread", body=b"not read", data=b"x" * 200_001),
    "teapot": Behaviour("GET /teapot", 418),
    "broken": Behaviour("GET /broken", 500),
    "nothing": Behaviour("GET /nothing", 204, b""),
    "answer-fields": Behaviour(
        "GET /fields", body=b"fields", has=(("x-latin", "caf\xe9"), ("x-many", "a"))
    ),
    "not-modified": Behaviour("GET /tagged", 304, b"", fields=(("If-None-Match", '"abc"'),)),
    "stream": Behaviour("GET /stream", body=b"0 of @/stream\n1 of @/stream\n2 of @/stream\n"),
    "counted-stream": Behaviour("GET /counted-stream", body=b"abcd"),
    "large": Behaviour("GET /large", body=b"0123456789" * 100_000),
    "file": Behaviour("GET /file", body=b"0123456789" * 10, has=(("content-length", "100"),)),
    "range": Behaviour(
        "GET /file",
        206,
        b"56789",
        has=(("content-range", "bytes 5-9/100"),),
        fields=(("Range", "bytes=5-9"),),
    ),
    "bad-range": Behaviour("GET /file", 416, fields=(("Range", "bytes=500-"),)),
    "file-head": Behaviour("HEAD /file", body=b"", has=(("content-length", "100"),)),
    "file-not-modified": Behaviour("GET /file", 304, b"", fields=(("If-None-Match", '"file"'),)),
    "redirect": Behaviour("GET /there", 302),
    "behind-a-proxy": Behaviour(
        "GET /client",
        body=shown({"host": "shop.example", "scheme": "https", "secure": True}),
        fields=(
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"),
            ("X-Forwarded-For", "1.2.3.4"),
        ),
    ),
    "mounted": Behaviour(
        "GET /path/x",
        body=shown({"info": "@/path/x", "rest": "x", "script": "/shop"}),
        fields=(("X-Forwarded-Prefix", "/shop"),),
    ),
}

BY_A_MIDDLEWARE = {"behind-a-proxy", "mounted"}
"""Behaviours that Werkzeug's ProxyFix brings about."""


@pytest.fixture
def served() -> Iterator[dict[str, Any]]:
    """The app's module."""
    module = runpy.run_path(str(ROOT / f"{APP}.py"))
    yield module
    module["app"].extensions["concurrency"].executors.bodies.shutdown()


def on_wsgi(app: Any, method: str, path: str, behaviour: Behaviour) -> Said:
    """What the app says to Werkzeug's client."""
    environ = create_environ(
        path,
        "http://testserver",
        method=method,
        headers=list(behaviour.fields),
        data=behaviour.data,
    )
    # Its client takes text for a path; a server takes bytes.
    environ["PATH_INFO"] = unquote_to_bytes(path.partition("?")[0]).decode("latin-1")
    chunks, status, fields = run_wsgi_app(app, environ, buffered=True)
    return int(status.split()[0]), b"".join(chunks), said_fields(fields.items())


async def on_asgi(asgi: Any, method: str, path: str, behaviour: Behaviour, **scope: Any) -> Said:
    """What the app says to an ASGI server."""
    answer = await ask(asgi, path, method, body=behaviour.data, fields=behaviour.fields, **scope)
    assert answer.complete
    return answer.status, answer.body, said_fields(answer.fields)


def on_server(url: str, method: str, path: str, behaviour: Behaviour) -> Said:
    """What the app says over a connection."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "testserver")
        for name, value in behaviour.fields:
            connection.putheader(name, value.encode("latin-1"))
        if behaviour.data or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(len(behaviour.data)))
        connection.endheaders(behaviour.data or None)
        response = connection.getresponse()
        return response.status, response.read(), said_fields(response.getheaders())
    finally:
        connection.close()


def said_fields(fields: Any) -> set[Field]:
    """Fields to compare: those the app decides."""
    return {
        (name.lower(), ", ".join(sorted(value.split(", "))) if name.lower() == "allow" else value)
        for name, value in fields
        if name.lower() not in PER_SERVER and not value.startswith("session=")
    }


def expect(said: Said, behaviour: Behaviour, kind: str) -> None:
    """See that an answer is the expected one."""
    status, body, fields = said
    assert status == behaviour.status
    if behaviour.body is not None:
        assert body == behaviour.body.replace(b"@", f"/{kind}".encode())
    assert set(behaviour.has) <= fields


@pytest.fixture
def direct(served: dict[str, Any]) -> dict[str, Any]:
    """The same without its middleware, so that nothing stands between ASGI and Flask's dispatch."""
    journeys = served["app"].wsgi_app
    journeys.wsgi_app = journeys.wsgi_app.app  # without ProxyFix
    return served


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", [name for name in BEHAVIOURS if name not in BY_A_MIDDLEWARE])
def test_an_app_answers_alike_with_no_wsgi_between(
    name: str, kind: str, direct: dict[str, Any], run: Run
) -> None:
    """Flask's own dispatch gives the same status, body and fields as WSGI: the right ones."""
    behaviour = BEHAVIOURS[name]
    method, _, path = behaviour.request.partition(" ")
    wsgi = on_wsgi(direct["app"], method, f"/{kind}{path}", behaviour)
    expect(wsgi, behaviour, kind)
    asgi = direct["asgi"]
    by_path: dict[str, Any] = {"extensions": {"http.response.pathsend": {}}}
    assert run(on_asgi(asgi, method, f"/{kind}{path}", behaviour)) == wsgi
    assert run(on_asgi(asgi, method, f"/{kind}{path}", behaviour, **by_path)) == wsgi


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_an_app_answers_alike_on_both_interfaces(
    name: str, kind: str, served: dict[str, Any], run: Run
) -> None:
    """Status, body and every field are the same; and they are the right ones."""
    behaviour = BEHAVIOURS[name]
    method, _, path = behaviour.request.partition(" ")
    wsgi = on_wsgi(served["app"], method, f"/{kind}{path}", behaviour)
    expect(wsgi, behaviour, kind)
    assert run(on_asgi(served["asgi"], method, f"/{kind}{path}", behaviour)) == wsgi


SERVERS = ["uvicorn", "hypercorn", "granian-asgi", "gunicorn-asgi"]


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_servers_agree_with_the_interface(
    server: str, served: dict[str, Any], serve_all: Callable[[str, str], str]
) -> None:
    """What a client gets over a connection is what the app said, on every server."""
    url = serve_all(APP, server)
    disagree = []
    for name, behaviour in BEHAVIOURS.items():
        for kind in ("sync", "async"):
            method, _, path = behaviour.request.partition(" ")
            wsgi = on_wsgi(served["app"], method, f"/{kind}{path}", behaviour)
            said = on_server(url, method, f"/{kind}{path}", behaviour)
            if said != wsgi:
                disagree.append((name, kind, said, wsgi))
    assert not disagree


def raw(url: str) -> socket.socket:
    """A connection to say anything on."""
    host, _, port = urlsplit(url).netloc.partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def until_said(url: str, path: str, wanted: Callable[[bytes], bool]) -> None:
    """Ask again until an answer is as wanted."""
    give_up_at = time.monotonic() + 30
    while not wanted(on_server(url, "GET", path, Behaviour(""))[1]):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_servers_tell_that_a_client_has_left(
    server: str, serve_all: Callable[[str, str], str]
) -> None:
    """The view is cancelled, its ``finally`` runs, and its permit is free again."""
    url = serve_all(APP, server)
    with raw(url) as connection:
        connection.sendall(b"GET /wait/somebody HTTP/1.1\r\nHost: testserver\r\n\r\n")
        until_said(url, "/who-waits", lambda said: b"somebody" in said)
        assert on_server(url, "GET", "/place", Behaviour(""))[0] == 503
    until_said(url, "/who-waits", lambda said: said.count(b"somebody") == 2)
    until_said(url, "/place", lambda said: said == b"free")


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_servers_pass_bodies_on_as_they_come(
    server: str, serve_all: Callable[[str, str], str]
) -> None:
    """Chunked, and after ``100 Continue``."""
    url = serve_all(APP, server)
    for kind in ("sync", "async"):
        head = f"POST /{kind}/echo HTTP/1.1\r\nHost: testserver\r\nConnection: close\r\n"
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".encode()
        with raw(url) as connection:
            connection.sendall(chunked)
            connection.sendall(b"2\r\nde\r\n0\r\n\r\n")
            assert b"abcde" in connection.makefile("rb").read()
        with raw(url) as connection:
            expects = f"{head}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            connection.sendall(expects.encode())
            assert connection.recv(12) == b"HTTP/1.1 100"
            connection.sendall(b"abc")
            answer = connection.makefile("rb").read()
            assert b"HTTP/1.1 200 " in answer
            assert answer.endswith(b"abc")
