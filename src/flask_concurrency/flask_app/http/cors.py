"""Let pages of other origins read responses, refusals included, without letting in too many.

The headers themselves are Flask-CORS's; this file decides which configurations are safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import Response
from flask_cors import cross_origin

from flask_concurrency.vocabulary.errors import ConfigurationError

Origins = str | re.Pattern[str] | Iterable[str | re.Pattern[str]]

ALWAYS_EXPOSED = (
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
"""Header fields we or a redirect send that scripts could otherwise not read."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True, eq=False)
class CorsPolicy:
    """Which origins may do what; see :meth:`Concurrency.cors` for the options.

    :ivar any_origin: Whether every origin is allowed, so that responses do not vary by it.
    :ivar options: What Flask-CORS is given.
    """

    any_origin: bool
    options: dict[str, Any]

    def apply(self, response: Response) -> Response:
        """Add the CORS header fields that the current request is due."""
        answered: Response = cross_origin(**self.options)(lambda: response)()
        if not self.any_origin:
            # Also where the origin is not allowed or not sent: a shared cache must not hand
            # that response to an origin that is.
            answered.vary.add("Origin")
        return answered


def cors_policy(
    *,
    origins: Origins,
    methods: Iterable[str] = METHODS,
    allow_headers: Iterable[str] | str = "*",
    expose_headers: Iterable[str] | str = (),
    supports_credentials: bool = False,
    max_age: int | timedelta | None = 600,
) -> CorsPolicy:
    """Check the options and hand them on.

    :raises ConfigurationError: An origin is malformed, or a combination is unsafe.
    """
    allowed = checked_origins(origins)
    if not allowed:
        raise ConfigurationError(
            'origins is empty: name at least one, as in origins="https://shop.example".'
        )
    any_origin = "*" in allowed
    if any_origin and len(allowed) > 1:
        raise ConfigurationError(f'origins={origins!r}: "*" allows all; name it alone.')
    if any_origin and supports_credentials:
        raise ConfigurationError(
            'origins="*" with supports_credentials=True would let every site on the web act as '
            'your logged-in users. Name the origins, as in origins="https://shop.example".'
        )
    return CorsPolicy(
        any_origin=any_origin,
        options={
            "origins": allowed,
            "methods": [method.upper() for method in _several(methods)],
            "allow_headers": list(_several(allow_headers)),
            "expose_headers": sorted({*_several(expose_headers), *ALWAYS_EXPOSED}),
            "supports_credentials": supports_credentials,
            "max_age": max_age,
            "send_wildcard": any_origin,
            "always_send": any_origin,
            "vary_header": False,
            "automatic_options": False,
            "allow_private_network": False,
        },
    )


def checked_origins(origins: Origins) -> list[str | re.Pattern[str]]:
    """The origins as a list, with patterns that match no more than a whole origin.

    :raises ConfigurationError: One is malformed.
    """
    return [_origin(origin) for origin in _several(origins)]


def _several(values: Any) -> list[Any]:
    return [values] if isinstance(values, str | re.Pattern) else list(values)


def _origin(origin: object) -> str | re.Pattern[str]:
    if isinstance(origin, re.Pattern):
        # Flask-CORS matches a prefix, which "https://a.example" + ".evil.test" would pass.
        return re.compile(rf"(?:{origin.pattern})\Z", origin.flags)
    if origin == "*":
        return "*"
    if not isinstance(origin, str) or not _is_origin(origin):
        raise ConfigurationError(
            f"{origin!r} is not an origin: write scheme, host and port if it is not the usual one, "
            'nothing after it, as in "https://shop.example" or "http://localhost:8000"; for many '
            r'subdomains give re.compile(r"https://[a-z]+\.shop\.example").'
        )
    return origin


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return bool(
        parts.scheme
        and host
        and text.lower() == f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
        and not set(text) & set("*\\?$^()")
    )
