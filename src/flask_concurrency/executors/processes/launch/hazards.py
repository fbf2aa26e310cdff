"""Decide whether a process may be forked into workers, after it has imported the application.

Knows no worker. A fork copies descriptors and memory, but no threads: what an import has opened or
started is then shared by all workers, or stands still in them.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress

_STANDARD = frozenset({0, 1, 2})


def hazards(own: frozenset[int]) -> list[str]:
    """Name what forked workers would share or lack; empty if a fork is safe.

    Looked at are: threads that were started, connections over the network, files that are open for
    reading, and OpenMP with live threads, on which a forked child waits for ever. Other native
    threads (OpenBLAS's) are made anew in a child.

    :param own: Descriptors that belong to the forkserver itself.
    """
    return [*_threads(), *_descriptors(own), *_openmp()]


def _threads() -> Iterator[str]:
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            yield f"the thread {thread.name!r} was started"


def _descriptors(own: frozenset[int]) -> Iterator[str]:
    with suppress(OSError):
        for number in sorted(map(int, os.listdir("/proc/self/fd"))):
            if number in own or number in _STANDARD:
                continue
            with suppress(OSError):  # the one that listed them
                mode = os.fstat(number).st_mode
                if stat.S_ISSOCK(mode) and _is_connection(number):
                    yield f"a network connection was opened (descriptor {number})"
                elif stat.S_ISREG(mode) and _is_read(number):
                    yield f"the file {os.readlink(f'/proc/self/fd/{number}')} was opened"


def _is_connection(number: int) -> bool:
    with socket.socket(fileno=os.dup(number)) as copy:
        return copy.family in (socket.AF_INET, socket.AF_INET6)


def _is_read(number: int) -> bool:
    import fcntl  # absent on Windows, where nothing is forked

    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def _openmp() -> Iterator[str]:
    with suppress(OSError):
        with open("/proc/self/maps") as file:
            found = {
                name for line in file for name in ("libgomp", "libomp", "libiomp") if name in line
            }
        if found and len(os.listdir("/proc/self/task")) > 1:
            yield f"OpenMP ({', '.join(sorted(found))}) has started threads"
