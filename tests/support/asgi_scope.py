"""Say what a connection is about, as an ASGI server does. Knows no message and no application."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote


def make_scope(
    kind: str, path: str, fields: Iterable[tuple[str, str]], **more: Any
) -> dict[str, Any]:
    """The scope of a connection from 127.0.0.1 to ``testserver``, over HTTP/1.1.

    :param kind: ``"http"`` or ``"websocket"``.
    :param path: With the query; percent-encoded.
    :param fields: Header fields beside ``Host``.
    :param more: What else it says, or says otherwise.
    """
    raw, _, query = path.partition("?")
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in [("host", "testserver"), *fields]
        ],
        "client": ("127.0.0.1", 40000),
        "server": ("testserver", 80),
        **more,
    }
