"""Read where a host store lives from its URI. Knows the spelling; opens nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from flask_concurrency.stores.uri_text import without_credentials
from flask_concurrency.vocabulary.errors import ConfigurationError

SCHEME: Final = "host://"
EXAMPLE: Final = '"host:///run/my-app?max_keys=200000"'
_OPTIONS: Final = ("max_keys", "max_processes")


class HostLocation(NamedTuple):
    """Where a host store lives and how large it is.

    :ivar directory: Absolute; ``None`` for the default one.
    :ivar sizes: The options that were given, by the names of :class:`HostStore`'s parameters.
    """

    directory: Path | None
    sizes: dict[str, int]


def read_url(uri: str) -> HostLocation:
    """Read a URI such as ``host://``, ``host:///run/my-app`` or ``host://?max_keys=200000``.

    :raises ConfigurationError: It names a host, no absolute directory, or an option that there is
        not.
    """
    parts = urlsplit(uri)
    # Without the slashes a directory would be sought wherever a process happens to be.
    if not uri.startswith(SCHEME) or parts.netloc or parts.fragment:
        raise ConfigurationError(
            f"{without_credentials(uri)!r}: the directory needs three slashes, as in {EXAMPLE}; a "
            "namespace is set with CONCURRENCY_NAMESPACE."
        )
    sizes = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS or not value.isdecimal():
            written = f"{name}={value}" if name in _OPTIONS else repr(name)
            raise ConfigurationError(
                f"{without_credentials(uri)!r}: {written} is no option. There are "
                f"{' and '.join(_OPTIONS)}, each a whole number, as in {EXAMPLE}."
            )
        sizes[name] = int(value)
    return HostLocation(Path(unquote(parts.path)) if parts.path else None, sizes)
