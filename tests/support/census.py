"""Count what the processes of a server hold, from outside, by way of ``/proc``. Linux only."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Census:
    """What a server's worker and all its descendants hold.

    :ivar threads: Of the server's worker.
    :ivar descriptors: Of the server's worker.
    :ivar processes: The descendants of the server's worker.
    :ivar segments: Descriptors of shared memory, in all of them.
    :ivar megabytes: What all of them take, counting what they share once (PSS).
    """

    threads: int
    descriptors: int
    processes: int
    segments: int
    megabytes: float


def take_census(worker: int) -> Census:
    """Count what one of the server's workers holds now, and what its own workers hold."""
    family = [worker, *descendants(worker)]
    return Census(
        threads=len(os.listdir(PROC / str(worker) / "task")),
        descriptors=len(_links(worker)),
        processes=len(family) - 1,
        segments=sum(
            "/memfd:" in link or "/dev/shm/" in link for p in family for link in _links(p)
        ),
        megabytes=sum(map(_megabytes, family)),
    )


def descendants(parent: int) -> list[int]:
    """Return a process's children, their children, and so on."""
    children = _children(parent)
    return children + [pid for child in children for pid in descendants(child)]


def _children(parent: int) -> list[int]:
    everyone = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    # A zombie waits only for its parent to ask.
    return [p for p in everyone if _status(p)[1:2] == [str(parent)] and _status(p)[:1] != ["Z"]]


def _status(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _links(pid: int) -> list[str]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                found.append(os.readlink(entry))
    return found


def _megabytes(pid: int) -> float:
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
