"""Refuse a request in bytes that were made before it came, for WSGI and ASGI.

Knows the two interfaces; decides nothing. A refusal must cost next to nothing: what refusals cost
is what an overloaded app cannot answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from flask_concurrency.flask_app.http.responses import PAGE, ServerBusy, prefers_html, soon
from flask_concurrency.flask_app.http.unwaited_close import close_without_waiting
from flask_concurrency.vocabulary.decision import Decision, Verdict

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from flask_concurrency.asgi.interface import Send

DETAIL: Final = "More requests come than can be answered in time. Try again shortly."


class OverloadResponse:
    """The refusal of one limit.

    :param name: What the limit is called.
    :ivar decision: What is decided, the same for every request.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        verdict = Verdict(name, 0, None, False, 0, None, None, per_client=False)
        self.decision = Decision(False, (verdict,))
        problem = {
            "type": ServerBusy.problem,
            "title": ServerBusy.title,
            "status": 503,
            "detail": DETAIL,
            "violated-policies": [name],
        }
        page = PAGE.format(status=503, title=ServerBusy.title, detail=DETAIL)
        self._json = _Prebuilt("application/problem+json", json.dumps(problem).encode())
        self._html = _Prebuilt("text/html; charset=utf-8", page.encode())

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a WSGI request, and do not wait for its client to close the connection."""
        close_without_waiting(environ)
        accept = environ.get("HTTP_ACCEPT", "")
        chosen = self._html if "html" in accept and prefers_html(environ) else self._json
        start_response("503 Service Unavailable", [*chosen.headers, ("Retry-After", str(soon()))])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (chosen.body,)

    async def asgi(self, scope: Mapping[str, Any], send: Send) -> None:
        """Answer an ASGI request, and end its connection.

        An event loop that is busy with connections it knows accepts new ones late: in the first
        second after a step uvicorn left 332 of 760 requests without any answer.
        """
        accept = ""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = value.decode("latin-1")
        html = "html" in accept and prefers_html({"HTTP_ACCEPT": accept})
        chosen = self._html if html else self._json
        headers = [*chosen.raw_headers, (b"retry-after", b"%d" % soon())]
        if scope.get("http_version", "1.1").startswith("1"):
            headers.append((b"connection", b"close"))
        body = b"" if scope["method"] == "HEAD" else chosen.body
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Prebuilt:
    def __init__(self, content_type: str, body: bytes) -> None:
        self.body = body
        self.headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
        ]
        self.raw_headers = [(name.lower().encode(), value.encode()) for name, value in self.headers]
