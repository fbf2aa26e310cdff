"""Decide whose pages may open a WebSocket. Knows the request that asks; opens nothing.

Browsers let every page of the web connect to every server, with the server's cookies, and leave it
to the server to look where the page is from: RFC 6455, section 10.2. Other clients have no cookies
that a page could misuse, and send no ``Origin``.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request
from werkzeug.exceptions import Forbidden

from flask_concurrency.flask_app.http.origins import AllowedOrigins, Origins

__all__ = ["Origins", "PagesAllowed"]


class PagesAllowed:
    """Pages of the same origin, and of those that are named.

    :param origins: Exact origins, compiled patterns that must match the whole, or ``"*"``.
    :raises ConfigurationError: One is malformed.
    """

    def __init__(self, origins: Origins) -> None:
        self._named = AllowedOrigins(origins)

    def check(self) -> None:
        """Let the current request pass.

        :raises Forbidden: Its page is from elsewhere.
        """
        origin = request.headers.get("Origin")
        if origin is None or _is_ours(origin) or self._named.allow(origin):
            return
        raise Forbidden(
            f"Pages of {origin!r} may not connect here. If they should, name it in origins=."
        )


def _is_ours(origin: str) -> bool:
    """Whether host and port are those the client asked for.

    Behind a proxy that ends TLS, an app that was not told of it takes ``https`` for ``http``. So
    the scheme counts only where the app knows that it is the better one.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or (request.is_secure and parts.scheme == "http"):
        return False
    usual = port is None or port == {"http": 80, "https": 443}[parts.scheme]
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return request.host.lower() == (host if usual else f"{host}:{port}")
