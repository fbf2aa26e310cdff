"""Lock single bytes of a file (Linux). Knows bytes to lock, not what is in them.

One byte for each shard, and one for each process that has the file open, held for life: that is
how the others know that it lives. These locks belong to an open file ("open file description",
fcntl(2)). Classic POSIX locks would vanish whenever anything in the process closes the file.

The bytes are mere numbers, the file's content does not matter to them. Two threads of a process
share its open file and so its locks, hence a thread lock for each shard as well.

To lock a shard also says that the file is whole: its byte is named by its distance from the end of
the file. Of a file that has lost a page it would lie before the first byte, and the kernel refuses;
of one that has lost less, all that is mapped is still there. To ask for the size by itself takes
one more call to the kernel for each request.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Final

from flask_concurrency.stores.host.locks import BoundedRetry, FileGone, Result, Work

_STRUCT_FLOCK: Final = struct.Struct("@hhqqi4x")
"""Type, whence, start, length, and a pid that must be 0."""

_fcntl = fcntl.fcntl
_LOCK: Final = getattr(fcntl, "F_OFD_SETLK", -1)


def _request(kind: int, at: int, length: int = 1, whence: int = os.SEEK_SET) -> bytes:
    return _STRUCT_FLOCK.pack(kind, whence, at, length, 0)


def known_for(descriptor: int) -> bool:
    """Whether the kernel knows these locks on an open file."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, 0))
    except OSError:
        return False
    return True


class OfdLocks:
    """The locks of one open file.

    :param descriptor: The file, opened for nothing else and not mapped: a mapping would keep it
        open, and its locks held, in a forked child. Closed with the locks.
    :param shards: How many shards it has.
    :param size: How many bytes it has.
    :param timeout: Seconds to wait for another process.
    """

    kind: ClassVar[int] = 1

    def __init__(self, descriptor: int, *, shards: int, size: int, timeout: float) -> None:
        self._descriptor = descriptor
        self._size = size
        # A third of what fstat costs; it is only asked under a lock, so while this is open.
        self.file_size: Callable[[], int] = partial(os.lseek, descriptor, 0, os.SEEK_END)
        self._retry = BoundedRetry("a lock of the host store", timeout=timeout, shards=shards)
        self._threads = [threading.Lock() for _ in range(shards)]
        self._shards = [
            (
                thread,
                _request(fcntl.F_WRLCK, shard - size, whence=os.SEEK_END),
                # By its place, whatever became of the file: no other byte is ever unlocked.
                _request(fcntl.F_UNLCK, shard),
            )
            for shard, thread in enumerate(self._threads)
        ]
        self._lives_at = shards

    def locked(
        self, shards: Sequence[int], work: Callable[[Work], Result], argument: Work
    ) -> Result:
        """Do ``work(argument)`` while no other thread or process is in the shards."""
        thread, lock, unlock = self._shards[shards[0]]
        # A signal handler may raise between any two lines. ``with`` leaks no thread lock then,
        # and to unlock a byte that was not locked yet does no harm.
        with thread:
            descriptor = self._descriptor
            if descriptor < 0:
                raise FileGone
            try:
                try:
                    _fcntl(descriptor, _LOCK, lock)
                except OSError:
                    self._wait_for(shards[0])
                if len(shards) == 1:
                    return work(argument)
                return self.locked(shards[1:], work, argument)
            finally:
                # If the process dies before this, the kernel unlocks.
                _fcntl(descriptor, _LOCK, unlock)

    def threads_locked(self, shard: int, work: Callable[[Work], Result], argument: Work) -> Result:
        """Do ``work(argument)`` with only the threads of this process kept out of a shard."""
        with self._threads[shard]:
            if self._descriptor < 0:
                raise FileGone
            return work(argument)

    def stuck(self) -> list[int]:
        """Shards for which a caller waited its whole timeout in vain, and none has since."""
        return self._retry.stuck()

    def unstick(self) -> None:
        """Let callers wait their whole timeout again: the shards were found free."""
        self._retry.unstick()

    def claim_line(self, lines: int) -> int | None:
        """Take the lowest free line, for life; ``None`` if all are taken."""
        for line in range(lines):
            if self._attempt(_request(fcntl.F_WRLCK, self._lives_at + line)):
                return line
        return None

    def alive(self, line: int) -> bool:
        """Whether the process that took a line lives."""
        return self._is_held(self._lives_at + line, 1)

    def any_alive(self, lines: int) -> bool:
        """Whether any line is taken."""
        return self._is_held(self._lives_at, lines)

    def close(self, *, wait: bool) -> None:
        """Close everything; a second call changes nothing."""
        held = []
        try:
            for thread in self._threads if wait else ():
                thread.acquire()
                held.append(thread)
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)
        finally:
            for thread in held:
                thread.release()

    def _wait_for(self, shard: int) -> None:
        """Lock a shard that cannot be locked now.

        :raises FileGone: The file is of another size.
        """
        lock = self._shards[shard][1]

        def attempt() -> bool:
            size = self.file_size()
            if size != self._size:
                raise FileGone("was cut off" if size < self._size else "has grown")
            return self._attempt(lock)

        self._retry.wait_for(attempt, shard)

    def _attempt(self, request: bytes) -> bool:
        try:
            _fcntl(self._descriptor, _LOCK, request)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file that was cut off just now
                raise
            return False
        return True

    def _is_held(self, at: int, length: int) -> bool:
        asked = _request(fcntl.F_WRLCK, at, length)
        answer = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked)
        kind: int = _STRUCT_FLOCK.unpack(answer)[0]
        return kind != fcntl.F_UNLCK
