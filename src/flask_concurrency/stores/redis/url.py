"""Read the URL of a Redis or Valkey server, of a cluster of them, or of its sentinels.

Knows how URLs are written; opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from flask_concurrency.stores.uri_text import (
    HIDDEN,
    cut,
    require_plain_credentials,
    without_credentials,
)
from flask_concurrency.vocabulary.errors import ConfigurationError

Kind = Literal["single", "sentinel", "cluster"]
Node = tuple[str, int]

EXAMPLES = (
    '"redis://localhost:6379/0", "rediss://…" for TLS, "unix:///run/redis.sock", '
    '"redis+sentinel://host:26379,host:26379/service" or "redis+cluster://host:6379,host:6379"'
)
SCHEMES: dict[str, tuple[Kind, str]] = {
    "redis": ("single", "redis"),
    "rediss": ("single", "rediss"),
    "unix": ("single", "unix"),
    "redis+unix": ("single", "unix"),
    "redis+sentinel": ("sentinel", "redis"),
    "rediss+sentinel": ("sentinel", "rediss"),
    "redis+cluster": ("cluster", "redis"),
    "rediss+cluster": ("cluster", "rediss"),
}
SENTINEL_PORT = 26_379
REDIS_PORT = 6_379


@dataclass(frozen=True, slots=True)
class Address:
    """Where the counts are.

    :ivar kind: What stands there.
    :ivar tls: Whether connections are encrypted.
    :ivar url: What the client library reads, for the first node.
    :ivar nodes: Every node that was named.
    :ivar service: What sentinels call the master they watch over; empty but for sentinels.
    :ivar text: The URL without its credentials, for people.
    """

    kind: Kind
    tls: bool
    url: str
    nodes: tuple[Node, ...]
    service: str
    text: str


def names_redis(url: str) -> bool:
    """Whether a URL is one of those read here."""
    return "://" in url and _scheme(url) in SCHEMES


def read_url(url: str) -> Address:
    """Read a URL; ``valkey`` stands for ``redis`` wherever it is written.

    :raises ConfigurationError: It cannot be read; the message holds no password.
    """
    scheme = _scheme(url)
    require_plain_credentials(url)
    written, credentials, rest = cut(url)
    text = without_credentials(url)
    try:
        parts = urlsplit(f"{written}://{rest}")
    except ValueError as error:
        raise _unreadable(text, str(error)) from None
    hosts = parts.netloc
    text = f"{parts.scheme}://{hosts}{parts.path}"
    if scheme not in SCHEMES:
        raise _unreadable(text, "the scheme is not known")
    kind, base = SCHEMES[scheme]
    user = f"{credentials}@" if credentials else ""
    query = f"?{parts.query}" if parts.query else ""
    if base == "unix":
        if not parts.path:
            raise _unreadable(text, "the path of the socket is missing")
        if hosts:
            raise _unreadable(text, "the path of the socket needs a third slash")
        return Address(kind, False, f"unix://{user}{parts.path}{query}", (), "", text)
    port = SENTINEL_PORT if kind == "sentinel" else REDIS_PORT
    nodes = tuple(_node(host, port, text) for host in hosts.split(","))
    if kind == "single" and len(nodes) > 1:
        raise _unreadable(text, "several hosts are sentinels or a cluster")
    service, path = "", parts.path
    if kind == "sentinel":
        service, _, database = path.strip("/").partition("/")
        service, path = unquote(service), f"/{database}" if database else ""
        if not service:
            raise _unreadable(text, "the name of the service is missing")
    _check_database(path.strip("/"), kind, text)
    host, number = nodes[0]
    place = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
    return Address(
        kind, base == "rediss", f"{base}://{user}{place}{path}{query}", nodes, service, text
    )


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower().replace("valkey", "redis", 1)


def _check_database(database: str, kind: Kind, text: str) -> None:
    """Refuse what the client library would take for database 0 without an error."""
    if database and not (database.isascii() and database.isdigit()):
        raise _unreadable(text, f"the database {database!r} is no number")
    if kind == "cluster" and database.strip("0"):
        raise _unreadable(text, "a cluster has no database but 0")


def _node(host: str, default: int, text: str) -> Node:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "localhost", default if parts.port is None else parts.port
    except ValueError as error:
        port = host.rpartition(":")[2]
        if "]" in port or port.isdecimal():
            raise _unreadable(text, str(error)) from None
        # It may be a password whose "@" and host were forgotten.
        scheme = text.partition("://")[0]
        reason = 'Port could not be cast to a number; behind a password stands "@" and the host'
        raise _unreadable(f"{scheme}://{HIDDEN}", reason) from None


def _unreadable(text: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{text!r} names no store: {reason}. Write {EXAMPLES}.")
