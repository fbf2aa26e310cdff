"""Exempt a key from limits for a while, in all processes of a deployment on this host.

Knows keys and instants; knows no request. Only digests of keys are written.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from flask_concurrency.stores.host.private_directory import locked_directory
from flask_concurrency.vocabulary.clock import Clock, monotonic, wall

NAME: Final = "exempt.json"
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at what other processes have written."""
MOST: Final = 1_000
_TIMEOUT: Final = 1.0


class ExemptKeys:
    """Keys that are not counted until an instant. To ask costs one look at the clock.

    :param directory: Where the processes of a deployment keep their files; ``None`` for keys of
        this process alone.
    :param clock: Seconds that never go back.
    :param wall: Seconds since 1970, the same in all processes.
    """

    def __init__(
        self, directory: Path | None, *, clock: Clock = monotonic, wall: Clock = wall
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._wall = wall
        self._until: dict[str, float] = {}
        self._stamp: tuple[int, int] | None = None
        self._look_at = 0.0

    def __contains__(self, key: object) -> bool:
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            self._look()
        if not self._until or not isinstance(key, str) or not key:
            return False
        return self._until.get(_digest(key), 0.0) > self._wall()

    def add(self, key: str, seconds: float) -> None:
        """Count a key no more for some seconds.

        :raises StoreError: The other processes cannot be told.
        :raises OSError: The same.
        """
        if self._directory is None:
            self._until[_digest(key)] = self._wall() + seconds
            return
        with locked_directory(self._directory, timeout=_TIMEOUT):
            self._look()
            now = self._wall()
            until = {digest: at for digest, at in self._until.items() if at > now}
            until[_digest(key)] = now + seconds
            while len(until) > MOST:
                del until[min(until, key=until.__getitem__)]
            written = self._directory / f"{NAME}.{os.getpid()}"
            written.write_text(json.dumps(until))
            os.replace(written, self._directory / NAME)
            self._until = until

    def _look(self) -> None:
        if self._directory is None:
            return
        path = self._directory / NAME
        try:
            found = os.stat(path)
        except OSError:
            return
        stamp = found.st_ino, found.st_mtime_ns
        if stamp != self._stamp:
            with suppress(OSError, ValueError):
                self._until = {str(k): float(v) for k, v in json.loads(path.read_text()).items()}
                self._stamp = stamp


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).hexdigest()
