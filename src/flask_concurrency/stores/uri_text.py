"""Show where a store is without what lets a reader in. Knows no scheme and no store.

The text is cut before anything is parsed: a password may hold the very characters at which a
parser would cut, and the parser's own words would show it.
"""

from __future__ import annotations

from typing import NamedTuple

from flask_concurrency.vocabulary.errors import ConfigurationError

HIDDEN = "…"
DELIMITERS = "/?#"
"""What ends the part of a URI in which credentials stand."""


class UriParts(NamedTuple):
    """A URI, cut at its credentials.

    :ivar scheme: Before ``://``; empty where that is missing.
    :ivar credentials: Up to the last ``@`` behind it; empty for none.
    :ivar rest: All that follows.
    """

    scheme: str
    credentials: str
    rest: str


def cut(uri: str) -> UriParts:
    """Cut a URI at its credentials."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        scheme, rest = "", uri
    credentials, _, rest = rest.rpartition("@")
    return UriParts(scheme, credentials, rest)


def without_credentials(uri: str) -> str:
    """A URI for people: no credentials, and no options, for a password may be one.

    Where it is so misspelt that its parts cannot be distinguished, less of it is shown.
    """
    scheme, credentials, rest = cut(uri)
    if not scheme:
        return HIDDEN if credentials or "/:" in uri else uri.partition("?")[0]
    if "@" in scheme or any(character in credentials for character in DELIMITERS):
        return f"{scheme.partition(':')[0]}://{HIDDEN}"
    where, question, _ = rest.partition("?")
    return f"{scheme}://{where}?{HIDDEN}" if question else f"{scheme}://{where}"


def require_plain_credentials(uri: str) -> None:
    """Refuse credentials at whose characters a parser would cut the URI.

    :raises ConfigurationError: Saying how to write them, and not what they are.
    """
    if any(character in cut(uri).credentials for character in DELIMITERS):
        raise ConfigurationError(
            f'{without_credentials(uri)!r}: before the "@" write "/" as %2F, "?" as %3F and "#" as '
            '%23, and behind it "@" as %40.'
        )
