"""Look at other processes by way of ``/proc``: what they take, if they live. Linux only."""

from __future__ import annotations

import time
from pathlib import Path

LOOKS = 0.0005
"""Seconds between two looks: the end of a process that is not our child is not reported."""


def proportional_memory(pid: int) -> float:
    """Bytes that a process takes, with its part of what it shares with others (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1]) * 1024
    raise LookupError(f"process {pid} tells no PSS")


def processor_time(pid: int) -> float:
    """Seconds that a process, its children and all their threads have spent on processors."""
    # What clock_getcpuclockid(3) gives, which Python does not offer; threads that ended count, too.
    return sum(time.clock_gettime((~each << 3) | 2) for each in (pid, *children_of(pid)))


def children_of(parent: int) -> set[int]:
    """Ids of the processes that a process has started."""
    everyone = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid for pid in everyone if _status(pid)[1:2] == [str(parent)]}


def parent_of(pid: int) -> int:
    """Id of the process that started one."""
    return int(_status(pid)[1])


def wait_until_gone(pid: int) -> None:
    """Return as soon as a process runs no more."""
    while _status(pid)[:1] not in ([], ["Z"], ["X"]):
        time.sleep(LOOKS)


def _status(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
