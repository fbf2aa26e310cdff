"""Say in WSGI's words what an ASGI scope says. Reads no body and knows no application."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from flask_concurrency.asgi.file_pieces import FilePieces
from flask_concurrency.asgi.interface import Scope

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

SCOPE = "asgi.scope"
"""Where in the WSGI environment the ASGI scope travels."""

CONNECTION: Final = "flask_concurrency.websocket"
"""Where in the WSGI environment the connection of a WebSocket travels."""

PORTABLE = "flask_concurrency.portable"
"""Set in the WSGI environment where the answer has a body that any thread, and the loop, may
read: it waits as its reader can."""

ON_DEADLINE = "flask_concurrency.on_deadline"
"""In the WSGI environment: to be called with the seconds that the request has, in any thread."""

_PLAIN = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
"""Fields that WSGI, after CGI, spells without ``HTTP_``."""


def make_environ(scope: Scope) -> WSGIEnvironment:
    """The WSGI environment of an ``http`` scope, all but its input.

    Text in it is bytes read as Latin-1, as WSGI wants it, whatever they mean.
    """
    path, root_path, target = _paths(scope)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root_path,
        "PATH_INFO": path,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_PROTOCOL": _protocol(scope["http_version"]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme") or "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FilePieces,
        SCOPE: scope,
    }
    _add_fields(environ, scope["headers"])
    _add_addresses(environ, scope)
    return environ


def _paths(scope: Scope) -> tuple[str, str, str]:
    """The path below the mount point, the mount point, and what the request line asked for."""
    raw: bytes | None = scope.get("raw_path")
    root_path: str = scope.get("root_path") or ""
    path: str = scope["path"]
    target = path
    encoded: bytes | None = None
    if raw:
        raw = raw.partition(b"?")[0]
        written = raw.decode("latin-1")
        if written != path:
            target = written
            # Not from ``path``: what is no UTF-8 was lost there. But middleware may have rewritten
            # that, and left alone what the client sent.
            sent = unquote_to_bytes(raw)
            if sent.decode("utf-8", "replace") in (path, root_path + path):
                encoded = sent
    if encoded is not None:
        path = encoded.decode("latin-1")
    elif not path.isascii():
        path = path.encode("utf-8", "surrogateescape").decode("latin-1")
    if root_path:
        root_path = root_path.encode("utf-8", "surrogateescape").decode("latin-1").rstrip("/")
        if path.startswith(root_path) and path[len(root_path) : len(root_path) + 1] in ("/", ""):
            path = path[len(root_path) :]
    if path[:1] != "/" and "://" in path:
        # A whole URL, as clients ask a proxy, and may ask any server (RFC 9112, 3.2.2).
        path = "/" + path.partition("://")[2].partition("/")[2]
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    return path, root_path, target


def _add_fields(environ: WSGIEnvironment, fields: list[tuple[bytes, bytes]]) -> None:
    repeated: dict[str, list[str]] = {}
    for name, value in fields:
        if not value and name == b"host":
            continue  # granian (2.8) adds an empty one where an HTTP/1.0 client sent none
        key = _key_of(name)
        if key is None:
            continue
        if key not in environ or name in _PLAIN:
            environ[key] = value.decode("latin-1")
        else:  # joined once, at the end: many small pieces must not cost their square
            repeated.setdefault(key, [environ[key]]).append(value.decode("latin-1"))
    for key, values in repeated.items():
        environ[key] = ("; " if key == "HTTP_COOKIE" else ",").join(values)


@lru_cache(256)  # nearly all that clients send; a client can displace them for a while
def _key_of(name: bytes) -> str | None:
    """What WSGI calls a field, if it is to be seen at all."""
    if name in _PLAIN:
        return _PLAIN[name]
    if b"_" in name:
        return None  # with it a client could pretend to be the proxy that writes the one with "-"
    return "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


@lru_cache(8)
def _protocol(version: str) -> str:
    return f"HTTP/{version}"


@lru_cache(8)
def _port(number: int) -> str:
    return str(number)


def _add_addresses(environ: WSGIEnvironment, scope: Scope) -> None:
    client, server = scope.get("client"), scope.get("server")
    environ["REMOTE_ADDR"] = client[0] if client else ""
    if client and client[1]:
        environ["REMOTE_PORT"] = str(client[1])
    if server and server[1] is not None:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], _port(server[1])
        return
    # A Unix socket has neither; WSGI wants both, and what the client called the server is next.
    secure = environ["wsgi.url_scheme"] == "https"
    host, colon, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not (colon and port.isdecimal()):
        host, port = environ.get("HTTP_HOST", ""), "443" if secure else "80"
    environ["SERVER_NAME"], environ["SERVER_PORT"] = host or "localhost", port
