"""Decide what happens to a worker whose forkserver is killed. Knows nothing else."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

# Loaded here, once, in the forkserver: a freshly forked worker only calls it.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Linux only.

    The kernel means the parent's *thread* that forked. The forkserver has one; for the owner,
    whose threads come and go, this would be wrong.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
