"""Serve the dashboard: one page, its data, a stream of it, and two actions.

Knows HTTP and who may see it; what is shown is put together elsewhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, abort, current_app, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from flask_concurrency.admission.limiter import normalized_key
from flask_concurrency.asgi.environ import SCOPE
from flask_concurrency.flask_app.app_snapshot import reset_counts
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.dashboard.exempt_keys import ExemptKeys
from flask_concurrency.flask_app.dashboard.sampling import Sampler
from flask_concurrency.flask_app.dashboard.view import View
from flask_concurrency.flask_app.streaming.event_streams import event_response
from flask_concurrency.flask_app.telemetry.access import Access, from_this_machine, is_allowed
from flask_concurrency.streams.server_sent_events import Event
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreError
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.dashboard")

STATIC: Final = Path(__file__).with_name("static")
FILES: Final = {
    "dashboard.js": "text/javascript",
    "dashboard.css": "text/css",
    "uplot.js": "text/javascript",
    "uplot.css": "text/css",
}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ASKED_BY: Final = "X-Concurrency-Dashboard"
"""A header field that no page of another origin may send without being allowed to."""
EXEMPT_FOR: Final = 600.0
"""Seconds for which a key is exempted."""
MOST_STREAMS: Final = 2
"""Streams that hold a thread of the server; further pages ask every two seconds instead."""
MOST_STREAMS_ON_ASGI: Final = 50

View_ = Callable[..., Any]


def add_dashboard(
    app: Flask,
    state: AppState,
    url_prefix: str,
    access: Access | None,
    exempt: Callable[[View_], View_],
    begin: Callable[[], None],
) -> Sampler:
    """Add the routes, count the app's requests and keep their history from now on.

    :param exempt: Exempts a view from limits.
    :param begin: Publishes what this process does.
    :raises ConfigurationError: Another route has the prefix.
    """
    prefix = url_prefix.rstrip("/")
    if not prefix.startswith("/"):
        raise ConfigurationError(
            f"dashboard: url_prefix={url_prefix!r} must begin with a slash and not be the root, as "
            "in '/_concurrency'."
        )
    for rule in app.url_map.iter_rules():
        if rule.rule == prefix or rule.rule.startswith(f"{prefix}/"):
            raise ConfigurationError(
                f"dashboard: {rule.endpoint!r} has the path {rule.rule!r} already. Choose another "
                "url_prefix."
            )
    sampler = Sampler(app, state, prefix)
    state.exempt_keys = exempt_keys = ExemptKeys(state.counters.directory())
    pages = Pages(state, View(app, state, sampler, prefix), exempt_keys, access)

    def started() -> None:
        sampler.begin()
        begin()

    state.counters.begin = started
    for path, view, methods in pages.routes():
        name = f"flask_concurrency.dashboard.{view.__name__}"
        app.add_url_rule(prefix + path, name, exempt(view), methods=methods)
    state.counters.count_requests()
    return sampler


class Pages:
    """The views.

    :param state: What the app owns.
    :param view: Gives what is shown.
    :param exempt_keys: Where keys are exempted.
    :param access: Who may see it.
    """

    def __init__(
        self, state: AppState, view: View, exempt_keys: ExemptKeys, access: Access | None
    ) -> None:
        self._state = state
        self._view = view
        self._exempt_keys = exempt_keys
        self._access = access
        self._streams = 0
        self._lock = threading.Lock()

    def routes(self) -> Iterator[tuple[str, View_, list[str]]]:
        """Paths, views and methods."""

        def home() -> AnyResponse:
            self._check()
            return redirect(f"{request.script_root}{request.path}/", code=308)

        def page() -> Response:
            self._check()
            return _answer(_file("page.html"), "text/html; charset=utf-8")

        def file(name: str) -> AnyResponse:
            self._check()
            if name not in FILES:
                abort(404)
            response = _answer(_file(name), f"{FILES[name]}; charset=utf-8")
            response.headers["Cache-Control"] = "no-cache"
            response.add_etag()
            return response.make_conditional(request)

        def data() -> Response:
            self._check()
            return _answer(_spelled(self._view.now(_after())), "application/json")

        def feed() -> Response:
            self._check()
            return self._feed()

        def reset() -> Response:
            return self._act("reset", self._reset)

        def exempt() -> Response:
            return self._act("exempt", self._exempt)

        yield "", home, ["GET"]
        yield "/", page, ["GET"]
        yield "/<name>", file, ["GET"]
        yield "/data.json", data, ["GET"]
        yield "/feed", feed, ["GET"]
        yield "/reset", reset, ["POST"]
        yield "/exempt", exempt, ["POST"]

    def _check(self) -> None:
        """Let in whom the app lets in; else clients of this machine while the app is debugged."""
        if self._access is None and not (current_app.debug or current_app.testing):
            abort(
                403,
                "The dashboard is closed: give dashboard(app, access=...) a function that says "
                "who may see it.",
            )
        if not is_allowed(self._access or from_this_machine):
            abort(403)

    def _feed(self) -> Response:
        on_asgi = SCOPE in request.environ
        most = MOST_STREAMS_ON_ASGI if on_asgi else MOST_STREAMS
        # A server with one thread would do nothing else than feed this page.
        alone = not on_asgi and not request.environ.get("wsgi.multithread", False)
        with self._lock:
            if alone or self._streams >= most:
                return _answer(b"", "text/plain", 204)  # tells the browser not to come back
            self._streams += 1
        begun = self._state.counters.connection_opened("dashboard")

        def closed() -> None:
            begun()
            with self._lock:
                self._streams -= 1

        after = _after()
        source = self._rows_later(after) if on_asgi else self._rows(after)
        try:
            response = event_response(
                source,
                heartbeat=None,
                loop=self._state.executors.loop,
                drain=self._state.drain,
                opened=lambda: closed,
            )
        except BaseException:
            closed()
            raise
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    def _rows(self, after: int) -> Iterator[Event]:
        pause = threading.Event()
        while True:
            shown = self._view.now(after)
            after = _last(shown, after)
            yield Event(_spelled(shown).decode())
            pause.wait(self._view.until_next())

    async def _rows_later(self, after: int) -> Any:
        import asyncio

        while True:
            shown = await asyncio.to_thread(self._view.now, after)
            after = _last(shown, after)
            yield Event(_spelled(shown).decode())
            await asyncio.sleep(self._view.until_next())

    def _act(self, what: str, act: Callable[[str], str]) -> Response:
        self._check()
        if not _is_of_the_page():
            abort(403, "Actions are for the dashboard's own page.")
        body = request.get_json(silent=True)
        key = body.get("key") if isinstance(body, dict) else None
        if not isinstance(key, str) or not key:
            abort(400, "Name a key.")
        try:
            said = act(key)
        except (StoreError, OSError) as error:
            logger.warning("The dashboard could not %s %r: %s", what, key, error)
            return _answer(_spelled({"error": str(error)}), "application/json", 503)
        who = request.remote_user or request.remote_addr
        logger.warning("The dashboard was used by %s: %s the key %r. %s", who, what, key, said)
        return _answer(_spelled({"said": said}), "application/json")

    def _reset(self, key: str) -> str:
        number = reset_counts(
            current_app._get_current_object(),  # type: ignore[attr-defined]
            self._state,
            key=normalized_key(key),
            name=None,
        )
        self._state.counters.refused_clients.forget(key)
        if not number:
            return f"No limit has counted {key!r} lately."
        return f"{number} count{'s' if number > 1 else ''} of {key!r} begin anew."

    def _exempt(self, key: str) -> str:
        self._exempt_keys.add(normalized_key(key), EXEMPT_FOR)
        self._state.refusals.clear()
        return f"{key!r} is not counted for ten minutes."


def _is_of_the_page() -> bool:
    """Whether a request was sent by the page itself.

    A form of another site sends no such field, and a script of one must ask first. Browsers say
    where a request comes from, and that must be here.
    """
    if ASKED_BY not in request.headers:
        return False
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def _after() -> int:
    return max(0, request.args.get("after", 0, type=int))


def _last(shown: dict[str, Any], after: int) -> int:
    rows = shown["rows"]
    return int(rows[-1][0]) if rows else after


def _spelled(shown: dict[str, Any]) -> bytes:
    return json.dumps(shown, separators=(",", ":")).encode()


@cache
def _file(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def _answer(body: bytes, content_type: str, status: int = 200) -> Response:
    response = Response(body, status, content_type=content_type)
    for name, value in {"Cache-Control": "no-store", **HEADERS}.items():
        response.headers[name] = value
    return response
