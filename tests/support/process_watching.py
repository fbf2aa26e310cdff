"""Look at processes from outside, by way of ``/proc``."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


def child_processes(parent: int | None = None) -> set[int]:
    """Return the process ids of a process's children; of this one's by default.

    All processes are asked for their parent: the list of children that the kernel keeps for each
    thread may be incomplete while processes or threads end.
    """
    wanted = str(parent or os.getpid())
    everyone = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid for pid in everyone if _status(pid)[1:2] == [wanted]}


def descendants(parent: int) -> set[int]:
    """Return the process ids of a process's children, their children, and so on."""
    children = child_processes(parent)
    return children.union(*(descendants(child) for child in children))


def descriptors() -> int:
    """Count this process's sockets, pipes, and segments of shared memory.

    No files: the apps of other tests may open theirs at any time.
    """
    links = map(_link, os.listdir("/proc/self/fd"))
    return sum(not link.startswith("/") or link.startswith("/memfd:") for link in links if link)


def open_segments() -> set[int]:
    """Return the inodes of the shared memory that this process has open."""
    found = set()
    for descriptor in map(Path, os.listdir("/proc/self/fd")):
        with suppress(FileNotFoundError):  # the one with which the directory was read
            if "memfd" in os.readlink("/proc/self/fd" / descriptor):
                found.add(os.stat("/proc/self/fd" / descriptor).st_ino)
    return found


def names_in_shared_memory() -> set[str]:
    """What has a name there, but for what browsers and the stores of other tests keep."""
    names = os.listdir("/dev/shm")
    return {name for name in names if not name.startswith((".", "flask-concurrency-"))}


def children_running(label: str) -> list[int]:
    """Return this process's children whose command line ends with ``label``."""
    return [child for child in child_processes() if _command(child)[-1:] == [label]]


def wait_until_gone(pids: set[int], within: float) -> set[int]:
    """Wait until none of some processes runs, and return those that still do in the end."""
    give_up_at = time.monotonic() + within
    while (left := {pid for pid in pids if _runs(pid)}) and time.monotonic() < give_up_at:
        time.sleep(0.01)  # a process that is not our child cannot notify us of its end
    return left


def wait_until_unmapped(pid: int, within: float) -> bool:
    """Wait until a process has no shared memory of ours mapped, and return whether that came."""
    give_up_at = time.monotonic() + within
    while "memfd:flask-concurrency" in Path(f"/proc/{pid}/maps").read_text():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.01)  # a process that is not our child cannot notify us of its maps
    return True


def _link(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # the one with which the directory was read
        return ""


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _runs(pid: int) -> bool:
    status = _status(pid)
    return bool(status) and status[0] not in "ZX"  # a zombie waits only for its parent to ask


def _status(pid: int) -> list[str]:
    """Return state, parent, and more; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
