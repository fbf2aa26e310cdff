"""Keep what each host of a fleet has counted on a Redis or Valkey server.

Knows hosts and bytes; knows neither what was counted nor who asks.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.stores.key_names import KeyNames
from flask_concurrency.stores.redis.client import ScriptClient
from flask_concurrency.stores.redis.scripts import Script
from flask_concurrency.stores.redis.url import read_url

KEPT_FOR: Final = 86_400
"""Seconds after which a host that writes no more is forgotten."""


class HostCounts:
    """What each host has counted.

    :param url: Where the server is; see :mod:`flask_concurrency.stores.redis.url`.
    :param namespace: Whose counts these are; any text.
    :param timeout: Seconds a call takes at most.
    :raises ConfigurationError: The URL, or an option of it, is wrong.
    """

    def __init__(self, url: str, *, namespace: str, timeout: float) -> None:
        self._address = read_url(url)
        self._timeout = timeout
        prefix = KeyNames(namespace).prefix
        self._keys = [f"{prefix}counts", f"{prefix}counts:written"]
        self._start()
        call_in_child(self, HostCounts._start)

    def write(self, host: str, counts: bytes) -> None:
        """Keep a host's counts, in place of those it wrote before; one command.

        :raises StoreError: They may not have been written.
        """
        self._scripts.run(_script("write_counts"), self._keys, [host, counts, str(KEPT_FOR)])

    def read(self) -> dict[str, bytes]:
        """What each host wrote last, by host; one command.

        :raises StoreError: It cannot be read.
        """
        reply: list[Any] = self._scripts.run(_script("read_counts"), self._keys[:1], [])
        try:
            return {host.decode(): counts for host, counts in zip(*[iter(reply)] * 2, strict=True)}
        except (TypeError, ValueError, AttributeError):
            raise self._scripts.misunderstood(reply) from None

    def close(self) -> None:
        """Close all connections."""
        self._scripts.close()

    def _start(self) -> None:
        self._scripts = ScriptClient(self._address, timeout=self._timeout)


@cache
def _script(name: str) -> Script:
    return Script((files(__package__) / "lua" / f"{name}.lua").read_text("utf-8"))
