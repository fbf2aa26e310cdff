"""Lock whole files, where the kernel knows no OFD byte locks. Knows not what is in them.

All shards share one lock, and each process holds a small file of its own for life.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from flask_concurrency.stores.host.locks import BoundedRetry, FileGone, Result, Work


class FlockLocks:
    """The locks of one open file.

    :param descriptor: The file, opened for nothing else and not mapped. Closed with the locks.
    :param path: Where the file is; the files that are held for life stand beside it.
    :param size: How many bytes it has.
    :param timeout: Seconds to wait for another process.
    """

    kind: ClassVar[int] = 2

    def __init__(self, descriptor: int, *, path: Path, size: int, timeout: float) -> None:
        self._descriptor = descriptor
        self._size = size
        self.file_size: Callable[[], int] = partial(os.lseek, descriptor, 0, os.SEEK_END)
        self._path = path
        self._retry = BoundedRetry("the lock of the host store", timeout=timeout)
        self._life = -1
        self._thread = threading.Lock()

    def locked(
        self, shards: Sequence[int], work: Callable[[Work], Result], argument: Work
    ) -> Result:
        """Do ``work(argument)`` while no other thread or process is in the file."""
        with self._thread:
            if self._descriptor < 0:
                raise FileGone
            try:
                self._retry.wait_for(lambda: _attempt(self._descriptor, fcntl.LOCK_EX))
                if self.file_size() < self._size:
                    raise FileGone("was cut off")
                return work(argument)
            finally:
                # If the process dies before this, the kernel unlocks.
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def threads_locked(self, shard: int, work: Callable[[Work], Result], argument: Work) -> Result:
        """Do ``work(argument)`` with only the threads of this process kept out."""
        with self._thread:
            if self._descriptor < 0:
                raise FileGone
            return work(argument)

    def stuck(self) -> list[int]:
        """The first shard, for all, if a caller waited its whole timeout in vain."""
        return self._retry.stuck()

    def unstick(self) -> None:
        """Let callers wait their whole timeout again: the shards were found free."""
        self._retry.unstick()

    def claim_line(self, lines: int) -> int | None:
        """Take the lowest free line, for life; ``None`` if all are taken."""
        for line in range(lines):
            descriptor = self._open(line, os.O_CREAT)
            if _attempt(descriptor, fcntl.LOCK_EX):
                self._life = descriptor
                return line
            os.close(descriptor)
        return None

    def alive(self, line: int) -> bool:
        """Whether the process that took a line lives."""
        try:
            descriptor = self._open(line)
        except FileNotFoundError:
            return False
        try:
            return not _attempt(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def any_alive(self, lines: int) -> bool:
        """Whether any line is taken."""
        return any(self.alive(line) for line in range(lines))

    def close(self, *, wait: bool) -> None:
        """Close everything; a second call changes nothing."""
        if wait:
            with self._thread:
                self.close(wait=False)
            return
        descriptors = (self._descriptor, self._life)
        self._descriptor = self._life = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def _open(self, line: int, flags: int = 0) -> int:
        flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(f"{self._path}.line{line}", flags, 0o600)


def _attempt(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
