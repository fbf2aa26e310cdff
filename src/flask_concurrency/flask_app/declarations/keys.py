"""Say who is counted: the client's network, an API key. Each is called inside a request.

Knows the request; knows no limit and no store.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache

from flask import Request, request

from flask_concurrency.vocabulary.errors import ConfigurationError

_WITH_PORT = re.compile(r"\[(?P<bracketed>[^\]]+)\](?::\d+)?|(?P<ipv4>[\d.]+):\d+")

CARRIERS_OF_IPV4 = {
    int(ipaddress.IPv6Address(prefix)) >> 32
    for prefix in ("::ffff:0:0", "64:ff9b::", "::ffff:0:0:0", "::")
}
"""Prefixes of 96 bits after which an IPv4 address stands: mapped, NAT64, SIIT, compatible."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that name one subscriber's network; the rest they choose freely."""


def remote_address() -> str:
    """The client's address as the server or ``ProxyFix`` reports it, never a raw header.

    A port is cut off. IPv6 counts by its /64 network; an IPv6 address that carries an IPv4 one
    (mapped, NAT64, SIIT) counts as that.
    Behind a proxy, configure :class:`werkzeug.middleware.proxy_fix.ProxyFix`, or all
    clients share the proxy's address.
    """
    asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # is faster
    return network(asked.remote_addr or "")


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
def network(address: str) -> str:
    """Fold an address to what one subscriber owns; what is no address stays as it is."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.ip_address(_without_port(address).partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if int(ip) > 1 and int(ip) >> 32 in CARRIERS_OF_IPV4:
        return str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Network((int(ip), IPV6_PREFIX), strict=False))


def _without_port(address: str) -> str:
    """An address as some proxies write it, ``192.0.2.7:40001`` or ``[2001:db8::7]:40001``."""
    found = _WITH_PORT.fullmatch(address)
    return address if found is None else found["bracketed"] or found["ipv4"]
