"""Call an app the way a server does, with as little around it as can be. Knows WSGI alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from benchmarks.benchmark import Call

CLIENTS = 200
"""Client addresses taken in turn, so that counts are kept for more than one key."""


class WrongAnswer(Exception):
    """The app did not answer what it must."""


def requests_to(
    app: WSGIApplication,
    path: str = "/",
    *,
    status: str = "200 OK",
    body: bytes | None = None,
    clients: int = CLIENTS,
    environ: Mapping[str, object] = MappingProxyType({}),
) -> Call:
    """Make a call that sends ``GET path`` and reads the answer to its end.

    The headers are those of a plain command-line client: ``Host``, ``User-Agent``, ``Accept``.

    :param status: The status line that the app must answer.
    :param body: The bytes that it must answer. Default: not looked at.
    :param clients: Addresses that take turns as the sender.
    :param environ: What the server says beside the usual.
    """
    template = {**_environ(path), **environ}
    addresses = cycle([f"198.51.100.{number}" for number in range(1, clients + 1)])
    answered = ""

    def start_response(status_line: str, headers: object, exc_info: object = None) -> Any:
        nonlocal answered
        answered = status_line

    def request() -> None:
        environ = template.copy()
        environ["REMOTE_ADDR"] = next(addresses)
        chunks = app(environ, start_response)
        try:
            received = b"".join(chunks)
        finally:
            _close(chunks)
        if answered != status or (body is not None and received != body):
            raise WrongAnswer(f"GET {path}: {answered!r} and {received[:100]!r}")

    return request


def _environ(path: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_USER_AGENT": "curl/8.5.0",
        "HTTP_ACCEPT": "*/*",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _close(chunks: Iterable[bytes]) -> None:
    close: Callable[[], None] | None = getattr(chunks, "close", None)
    if close is not None:
        close()
