"""Decide which URLs the API may fetch for a visitor. Knows no socket and no route.

A server that fetches whatever it is told is a door into its network, so this one fetches from
the demo's own page server and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

MAX_URLS = 32
MAX_LENGTH = 500


class UrlRefused(ValueError):
    """A URL, or how many there are, is not allowed; the message may be shown to the visitor."""


def allowed_urls(wanted: object, *, origins: Collection[str]) -> list[str]:
    """Check what a visitor sent.

    :param wanted: A list of URLs, as it came out of JSON.
    :param origins: Where they may lead, such as ``{"http://127.0.0.1:8600"}``.
    :raises UrlRefused: It is no list of 1 to ``MAX_URLS`` URLs, or one leads elsewhere.
    """
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MAX_URLS:
        raise UrlRefused(f"Give 1 to {MAX_URLS} URLs, one a line.")
    for url in wanted:
        if not isinstance(url, str) or _origin(url) not in origins:
            raise UrlRefused(
                f"{str(url)[:80]!r} is refused: this demo fetches from its own pages only, "
                f"that is from {min(origins)}."
            )
    return wanted


def _origin(url: str) -> str | None:
    """Scheme, host and port; ``None`` for anything else than a plain HTTP URL."""
    if len(url) > MAX_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}"
