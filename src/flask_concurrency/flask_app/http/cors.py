"""Let pages of other origins read responses, refusals included, without letting in too many.

The header fields themselves are Flask-CORS's; this file decides which configurations are safe, and
refuses those that could never work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Response, request

from flask_concurrency.flask_app.http.origins import AllowedOrigins, Origins, several
from flask_concurrency.vocabulary.errors import ConfigurationError

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
KNOWN = frozenset({*METHODS, "OPTIONS"})
"""Methods that a page may use in a browser."""

MAX_ASKED = 4_096
"""Characters of ``Access-Control-Request-Headers`` that are answered, since none is counted."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_ORIGIN = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, eq=False)
class CorsPolicy:
    """Which origins may do what; see :meth:`Concurrency.cors` for the options.

    :ivar origins: Which origins are allowed.
    :ivar options: What Flask-CORS is given beside them.
    """

    origins: AllowedOrigins
    options: dict[str, Any]

    def apply(self, response: Response) -> Response:
        """Add the CORS header fields that the current request is due."""
        if len(request.headers.get("Access-Control-Request-Headers", "")) > MAX_ASKED:
            return response
        from flask_cors import cross_origin

        origin = request.headers.get("Origin", "")
        # Flask-CORS takes some texts for patterns, so it gets only the one origin that asks.
        allowed: Any = _NO_ORIGIN
        if self.origins.any_origin:
            allowed = "*"
        elif self.origins.allow(origin):
            allowed = re.compile(re.escape(origin) + r"\Z")
        decorate = cross_origin(origins=[allowed], **self.options)
        answered: Response = decorate(lambda: response)()
        if not self.origins.any_origin:
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

    :raises ConfigurationError: An option is malformed or could never work, or a combination is
        unsafe.
    """
    import flask_cors  # noqa: F401  # loaded here, so that no request waits for it

    allowed = AllowedOrigins(origins)
    if not allowed:
        raise ConfigurationError(
            'origins is empty: name at least one, as in origins="https://shop.example".'
        )
    if not isinstance(supports_credentials, bool):
        raise ConfigurationError(
            f"supports_credentials={supports_credentials!r}: give True or False. A text of the "
            "environment, such as 'false', is true to Python."
        )
    if allowed.any_origin and supports_credentials:
        raise ConfigurationError(
            'origins="*" with supports_credentials=True would let every site on the web act as '
            'your logged-in users. Name the origins, as in origins="https://shop.example".'
        )
    exposed = _names("expose_headers", expose_headers)
    if "*" in exposed and supports_credentials:
        raise ConfigurationError(
            'expose_headers="*" means nothing where credentials are sent: name the fields.'
        )
    return CorsPolicy(
        origins=allowed,
        options={
            "methods": _methods(methods),
            "allow_headers": _names("allow_headers", allow_headers),
            "expose_headers": sorted({*exposed, *ALWAYS_EXPOSED}),
            "supports_credentials": supports_credentials,
            "max_age": _age(max_age),
            "send_wildcard": allowed.any_origin,
            "always_send": allowed.any_origin,
            "vary_header": False,
            "automatic_options": False,
            "allow_private_network": False,
        },
    )


def _methods(methods: object) -> list[str]:
    found = [
        each.upper() if isinstance(each, str) else each for each in several("methods", methods, str)
    ]
    unknown = [each for each in found if each not in KNOWN]
    if unknown or not found:
        raise ConfigurationError(
            f"methods={methods!r}: name the methods a page may use, of {', '.join(sorted(KNOWN))}; "
            "leave it out for the usual ones."
        )
    return found


def _names(option: str, names: object) -> list[str]:
    found = several(option, names, str)
    wrong = [each for each in found if not isinstance(each, str) or not _TOKEN.fullmatch(each)]
    if wrong:
        raise ConfigurationError(
            f"{option}={names!r}: {wrong[0]!r} is no header field's name; give a list, as in "
            f'{option}=["X-Request-Id", "X-Shop"].'
        )
    return found


def _age(max_age: object) -> Any:
    if isinstance(max_age, timedelta):
        max_age = int(max_age.total_seconds())
    wrong = isinstance(max_age, bool) or not isinstance(max_age, int) or max_age < 0
    if max_age is not None and wrong:
        raise ConfigurationError(f"max_age={max_age!r}: give whole seconds, or a timedelta.")
    return max_age
