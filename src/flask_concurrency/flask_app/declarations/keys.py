"""Say who is counted: the client's network, an API key. Each is called inside a request.

Knows the request; knows no limit and no store.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache

from flask import Request, request

from flask_concurrency.vocabulary.errors import ConfigurationError

IPV6_PREFIX = 64
"""Bits of an IPv6 address that name one subscriber's network; the rest they choose freely."""


def remote_address() -> str:
    """The client's address as the server or ``ProxyFix`` reports it, never a raw header.

    IPv6 counts by its /64 network and IPv4-mapped IPv6 (``::ffff:192.0.2.1``) as IPv4.
    Behind a proxy, configure :class:`werkzeug.middleware.proxy_fix.ProxyFix`, or all
    clients share the proxy's address.
    """
    asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # is faster
    return _network(asked.remote_addr or "")


def header(name: str) -> Callable[[], str]:
    """Count by a request header, such as ``header("X-API-Key")``.

    Requests without it share one count. A client that can invent values is not limited by them:
    combine it with a limit by :func:`remote_address`.

    :param name: The header's name.
    :raises ConfigurationError: The name is empty.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f'header({name!r}): give a name, as in header("X-API-Key").')

    def header_value() -> str:
        return request.headers.get(name, "")

    header_value.__qualname__ = f"header({name!r})"  # what "flask concurrency explain" shows
    return header_value


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    """Fold an address to what one subscriber owns; what is no address stays as it is."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), IPV6_PREFIX), strict=False))
