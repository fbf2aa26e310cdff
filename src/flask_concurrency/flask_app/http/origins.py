"""Decide which origins are meant by what a developer wrote, the same for CORS and WebSockets.

Knows how browsers spell an origin (RFC 6454); knows no request and no header field.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from flask_concurrency.vocabulary.errors import ConfigurationError

Origins = str | re.Pattern[str] | Iterable[str | re.Pattern[str]]

USUAL_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class AllowedOrigins:
    """Exact origins, and patterns that must match the whole of one.

    :param origins: As a developer writes them.
    :ivar any_origin: Whether every origin is allowed.
    :raises ConfigurationError: One is malformed, or no browser would ever send it so.
    """

    def __init__(self, origins: Origins) -> None:
        written = several("origins", origins, str, re.Pattern)
        self._patterns = [origin for origin in written if isinstance(origin, re.Pattern)]
        if any(isinstance(pattern.pattern, bytes) for pattern in self._patterns):
            raise ConfigurationError(
                f"origins={origins!r}: a pattern of bytes fits no origin; compile one of text."
            )
        literal = [origin for origin in written if not isinstance(origin, re.Pattern)]
        self._literals = {"*" if origin == "*" else _spelled(origin) for origin in literal}
        self.any_origin = "*" in self._literals
        if self.any_origin and len(written) > 1:
            raise ConfigurationError(f'origins={origins!r}: "*" allows all; name it alone.')

    def __len__(self) -> int:
        return len(self._literals) + len(self._patterns)

    def allow(self, origin: str) -> bool:
        """Whether an origin, as a browser sends it, is one of them."""
        return (
            self.any_origin
            or origin.lower() in self._literals
            or any(pattern.fullmatch(origin) for pattern in self._patterns)
        )


def several(option: str, values: Any, *kinds: type) -> list[Any]:
    """One value or several as a list.

    :raises ConfigurationError: It is neither.
    """
    if isinstance(values, kinds):
        return [values]
    if values is None or isinstance(values, bytes) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{option}={values!r}: give text, or a list of texts.")
    return list(values)


def _spelled(origin: object) -> str:
    """An exact origin as browsers spell it.

    :raises ConfigurationError: It is none, or spelled as no browser does.
    """
    if not isinstance(origin, str):
        raise _wrong(origin)
    if origin != origin.strip():
        raise ConfigurationError(f"{origin!r} is not an origin: leave the blanks around it out.")
    try:
        parts = urlsplit(origin)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise _wrong(origin) from None
    if not parts.scheme or not host or set(origin) & set("*\\?$^() ") or not origin.isprintable():
        raise _wrong(origin)
    if not host.isascii():
        raise ConfigurationError(
            f"{origin!r}: browsers send the host as {_idna(host)!r}; write "
            f"{origin.replace(host, _idna(host))!r}."
        )
    if ":" in host:
        try:
            bracketed = f"[{ipaddress.IPv6Address(host).compressed}]"
        except ValueError:
            raise _wrong(origin) from None
        written = f"[{host}]"
    else:
        bracketed = written = host
    rest = "" if port is None else f":{port}"
    if origin.lower() != f"{parts.scheme}://{written}{rest}":
        raise _wrong(origin)
    spelled = f"{parts.scheme}://{bracketed}"
    if port is not None and port == USUAL_PORTS.get(parts.scheme):
        raise ConfigurationError(
            f"{origin!r}: browsers leave the usual port out; write {spelled!r}."
        )
    return spelled + rest


def _idna(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return "its IDNA form"


def _wrong(origin: object) -> ConfigurationError:
    return ConfigurationError(
        f"{origin!r} is not an origin: write scheme, host and port if it is not the usual one, "
        'nothing after it, as in "https://shop.example" or "http://localhost:8000"; for many '
        r'subdomains give re.compile(r"https://[a-z]+\.shop\.example").'
    )
