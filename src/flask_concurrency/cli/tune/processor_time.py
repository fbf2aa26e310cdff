"""Read how much processor time a server and its processes have used. Knows /proc and no server."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


def processors() -> int:
    """Processors that this process may use, by its mask and its container's quota."""
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(mask, int(int(quota) / int(period))))
    return mask


class Used(NamedTuple):
    """What the processes of a session have used so far, in seconds.

    :ivar ran: Of processors; of those that ended by their parents' account.
    :ivar held_up: For which threads that live still were ready, and waited for a processor.
    """

    ran: float
    held_up: float


def used(session: int) -> Used:
    """Ask the kernel.

    :param session: The identity of the session's first process.
    :raises OSError: This platform does not tell.
    """
    ticks = held_up = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    ticks += sum(int(field) for field in fields[11:15])
                    for thread in (entry / "task").iterdir():
                        held_up += int((thread / "schedstat").read_text().split()[1])
    if not ticks and not Path("/proc/self/stat").exists():
        raise OSError("This platform does not tell how much processor time a process has used.")
    return Used(ticks / os.sysconf("SC_CLK_TCK"), held_up / 1e9)


def used_by_all() -> float:
    """Processor seconds that all processes of this machine have used since it was started."""
    with suppress(OSError, ValueError):
        user, nice, system, _, _, irq, softirq = Path("/proc/stat").read_text().split()[1:8]
        ticks = sum(map(int, (user, nice, system, irq, softirq)))
        return ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
