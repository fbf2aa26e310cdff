"""Give a host of a fleet its name, and one of its processes the right to write its counts.

Knows one small file; knows no counts.

The file lives as long as the counters beside it: a host that starts again with empty counters has
a new name. The kernel drops the lock on it when the process that holds it dies.
"""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from flask_concurrency.stores.host.private_directory import locked_subdirectory

FILE: Final = "host.v1"
_TIMEOUT: Final = 0.25
_DIGITS: Final = 32


class HostFile:
    """The file of one deployment on this host. One thread at a time may use it.

    :param directory: Where the processes of the deployment keep their files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None
        self._finalizer: Callable[[], object] = lambda: None
        self._name = ""

    def name(self) -> str:
        """What this host is called; the same for all processes of the deployment.

        :raises OSError: The file cannot be had.
        :raises StoreError: Others could change it.
        """
        if self._descriptor is None or not self._is_in_place():
            self.close()
            self._open()
        return self._name

    def hold(self) -> bool:
        """Take the lock, if no other process of this host has it; say whether it is held now.

        :raises OSError: The file cannot be had.
        :raises StoreError: Others could change it.
        """
        import fcntl

        self.name()
        assert self._descriptor is not None
        with suppress(BlockingIOError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def close(self) -> None:
        """Let another process take the lock."""
        self._descriptor = None
        self._finalizer()

    def _is_in_place(self) -> bool:
        assert self._descriptor is not None
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._directory / FILE))
        return False

    def _open(self) -> None:
        with locked_subdirectory(self._directory, timeout=_TIMEOUT):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._directory / FILE, flags, 0o600)
            try:
                name = os.pread(descriptor, _DIGITS, 0)
                if len(name) < _DIGITS:  # new, or its writer was killed
                    name = secrets.token_hex(_DIGITS // 2).encode()
                    os.pwrite(descriptor, name, 0)
            except BaseException:
                os.close(descriptor)
                raise
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        self._descriptor, self._name = descriptor, name.decode("ascii", "replace")
