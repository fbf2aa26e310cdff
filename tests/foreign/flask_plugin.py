"""A plugin for pytest under which Flask's own tests meet this extension.

``FLASK_SUITE`` tells how: ``"stock"`` leaves Flask alone, ``"extension"`` puts ``Concurrency`` on
every app, ``"limits"`` gives each default limits that are never reached, ``"asgi"`` has the test
client of each app ask its ``asgi_app``, on an event loop that runs in a thread of its own, and with
``"loop"`` all requests run on that loop, those of plain views too. There a middleware gives each
environment what the test client put into it, so that answers go by way of WSGI; with ``"direct"``
none does, and Flask's dispatch answers by itself, on the loop.
``OUTCOMES`` names the file that takes what became of each test, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import werkzeug.test
from _pytest import monkeypatch
from flask import Flask
from werkzeug.http import HTTP_STATUS_CODES

from flask_concurrency import Concurrency
from flask_concurrency.asgi import application

MODE = os.environ["FLASK_SUITE"]
ON_ASGI = MODE in ("asgi", "loop", "direct")
NEVER_REACHED = "1000000/minute; 1000 in flight"
ANSWERS_WITHIN = 20.0
SENT_AS = "HTTP_X_FLASK_SUITE"
"""The header by which an environment finds what no server could have sent with it."""

outcomes: dict[str, str] = {}
extras: dict[str, dict[str, Any]] = {}
numbers = itertools.count()

if not hasattr(monkeypatch, "notset"):  # as pytest named it when Flask's tests were written
    monkeypatch.notset = monkeypatch.NOTSET  # type: ignore[attr-defined]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of a test; a failure in its set-up or end counts as its own."""
    if report.failed:
        outcomes[report.nodeid] = f"failed: {report.longrepr}"[-2_000:]
    elif report.skipped:
        outcomes[report.nodeid] = "skipped"
    elif report.when == "call":
        outcomes.setdefault(report.nodeid, "passed")


def pytest_sessionfinish() -> None:
    """Hand over what was noted."""
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(outcomes))


def extend_every_app() -> None:
    """Have each app that is made get the extension at the end of its ``__init__``."""
    stock = Flask.__init__

    def __init__(self: Flask, *args: Any, **options: Any) -> None:
        stock(self, *args, **options)
        if ON_ASGI and MODE != "direct":
            _take_extras(self)
        concurrency = Concurrency(self, default_limits=NEVER_REACHED if MODE == "limits" else None)
        if ON_ASGI:
            self.extensions["flask_suite"] = concurrency.asgi_app(self)
        if MODE in ("loop", "direct"):
            concurrency.runs_on("loop")(self)

    Flask.__init__ = __init__  # type: ignore[method-assign]


def ask_by_asgi() -> None:
    """Have the test clients of those apps speak ASGI."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="server", daemon=True).start()
    stock = werkzeug.test.run_wsgi_app

    def run(app: Any, environ: dict[str, Any], buffered: bool = False) -> Any:
        if isinstance(app, Flask) and "flask_suite" in app.extensions:
            asgi = app.extensions["flask_suite"]
            app = lambda environ, start: Exchange(loop, environ).answer(asgi, start)  # noqa: E731
        return stock(app, environ, buffered)

    werkzeug.test.run_wsgi_app = run


def _take_extras_without_middleware() -> None:
    """Give each environment the same, where the bridge makes it."""
    bridge: Any = application
    make = bridge.make_environ

    def make_environ(scope: Any) -> dict[str, Any]:
        environ: dict[str, Any] = make(scope)
        environ.update(extras.pop(environ.pop(SENT_AS, ""), {}))
        return environ

    bridge.make_environ = make_environ


def _take_extras(app: Flask) -> None:
    """Give each environment what the test client put into it and no header can say."""
    inner = app.wsgi_app

    def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.update(extras.pop(environ.pop(SENT_AS, ""), {}))
        return inner(environ, start_response)

    app.wsgi_app = wsgi_app  # type: ignore[method-assign]


class Exchange:
    """One request to an ASGI application on another thread's loop, and its answer as it comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, environ: dict[str, Any]) -> None:
        self._loop = loop
        given = environ["wsgi.input"]
        self._body: bytes | None = given.read(int(environ.get("CONTENT_LENGTH") or 0))
        given.seek(0)  # the test client sends it once more where it is redirected
        self._scope = _scope_of(environ)
        self._messages: queue.SimpleQueue[dict[str, Any] | BaseException | None]
        self._messages = queue.SimpleQueue()
        self._gone = asyncio.Event()

    def answer(self, asgi: Any, start_response: Any) -> Iterator[bytes]:
        """Send the request, and give the body once the answer has begun, as WSGI does."""
        running = asyncio.run_coroutine_threadsafe(self._run(asgi), self._loop)
        begin = self._next()
        assert begin is not None
        status = begin["status"]
        fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in begin["headers"]]
        reason = HTTP_STATUS_CODES.get(status, "UNKNOWN").upper()
        start_response(f"{status} {reason}", [(name.title(), value) for name, value in fields])
        return self._chunks(running)

    def _chunks(self, running: Any) -> Iterator[bytes]:
        try:
            while (message := self._next()) is not None:
                if message.get("body"):
                    yield message["body"]
        finally:
            self._loop.call_soon_threadsafe(self._gone.set)
            running.exception(ANSWERS_WITHIN)

    def _next(self) -> dict[str, Any] | None:
        message = self._messages.get(timeout=ANSWERS_WITHIN)
        if isinstance(message, BaseException):
            raise message
        return message

    async def _run(self, asgi: Any) -> None:
        async def send(message: dict[str, Any]) -> None:
            self._messages.put(message)

        try:
            await asgi(self._scope, self._receive, send)
        except BaseException as error:
            self._messages.put(error)
        else:
            self._messages.put(None)

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}


def _scope_of(environ: dict[str, Any]) -> dict[str, Any]:
    number = str(next(numbers))
    extras[number] = {name: value for name, value in environ.items() if _is_extra(name)}
    fields = [(SENT_AS.removeprefix("HTTP_"), number)]
    fields += [(n.removeprefix("HTTP_"), v) for n, v in environ.items() if n.startswith("HTTP_")]
    fields += [(n, environ[n]) for n in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(n)]
    root = environ["SCRIPT_NAME"].encode("latin-1").decode("utf-8", "surrogateescape")
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": root + path,
        "raw_path": quote(root + path, errors="surrogateescape").encode(),
        "root_path": root,
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "headers": [
            (name.lower().replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in fields
        ],
        "client": (environ["REMOTE_ADDR"], 1024) if environ.get("REMOTE_ADDR") else None,
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
    }


def _is_extra(name: str) -> bool:
    """Whether no server could have sent it: what a test client, or a test, puts in by itself."""
    return name.startswith(("werkzeug.", "flask.")) or name == "wsgi.errors"


if MODE != "stock":
    extend_every_app()
if ON_ASGI:
    ask_by_asgi()
if MODE == "direct":
    _take_extras_without_middleware()
