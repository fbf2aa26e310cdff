"""Read how much processor time a server and its processes have used. Knows /proc and no server."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def processors() -> int:
    """Processors that this process may use, by its mask and its container's quota."""
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(mask, int(int(quota) / int(period))))
    return mask


def used(session: int) -> float:
    """Processor seconds that all processes of a session have used; those that ended by their
    parents' account.

    :param session: The identity of the session's first process.
    :raises OSError: This platform does not tell.
    """
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    total += sum(int(field) for field in fields[11:15])
    if not total and not Path("/proc/self/stat").exists():
        raise OSError("This platform does not tell how much processor time a process has used.")
    return total / os.sysconf("SC_CLK_TCK")
