"""End a job with all processes it started: each of its attempts leads a process group of its own.

A job that is killed cannot end its children, and children that go on may write what a second
attempt writes. The leader of a group is noted in a file before the job begins, so that also
another worker can end what a killed worker has left. Knows no job and no ledger.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flask_concurrency.vocabulary.clock import monotonic

GONE_WITHIN: Final = 2.0
"""Seconds to wait for a process that was sent SIGKILL; the kernel takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Leader:
    """The process that leads a group.

    :ivar process: Its number, which is the group's.
    :ivar begun: When the kernel started it, in its own ticks; ``""`` if that is not known.
    :ivar world: Which boot and which container counts its number.
    """

    process: int
    begun: str
    world: str


def lead_group(note: Path) -> None:
    """Let this process lead a group, and note it; what it starts from now on belongs to it."""
    if not hasattr(os, "setpgid"):
        return
    process = os.getpid()
    if os.getpgid(0) != process:
        os.setpgid(0, 0)
    note.write_text(f"{process} {_begun(process)} {_world()}", "ascii")


def end_group(note: Path) -> None:
    """Kill what is left of the group that was noted, wait for its end, and remove the note.

    A number that another process has got meanwhile is left alone.
    """
    leader = _read(note)
    if leader is not None and leader.world == _world():
        members = _members(leader)
        for member in members:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
        _await_end(members)
    note.unlink(missing_ok=True)


def _read(note: Path) -> Leader | None:
    try:
        process, begun, world = note.read_text("ascii").split(" ")
        return Leader(int(process), begun, world)
    except (OSError, ValueError):
        return None


def _members(leader: Leader) -> list[int]:
    """The living processes of a group; none if the leader's number is another process's now."""
    if not Path("/proc/self/stat").exists():
        return _members_elsewhere(leader.process)
    now = _begun(leader.process)
    if now not in ("", leader.begun):
        return []
    return [
        process
        for process in map(int, filter(str.isdecimal, os.listdir("/proc")))
        if (found := _stat(process)) is not None
        and found[2] == str(leader.process)
        and found[0] != "Z"
        and int(found[19]) >= int(leader.begun or 0)
    ]


def _members_elsewhere(leader: int) -> list[int]:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    return []


def _await_end(processes: list[int]) -> None:
    give_up_at = monotonic() + GONE_WITHIN
    while any((found := _stat(each)) is not None and found[0] != "Z" for each in processes):
        if monotonic() > give_up_at:
            return
        time.sleep(0.002)  # the kernel notifies the parent alone


def _begun(process: int) -> str:
    found = _stat(process)
    return "" if found is None or found[0] == "Z" else found[19]


def _stat(process: int) -> list[str] | None:
    """What the kernel says of a process, from its state on: fields 3 and further of proc(5)."""
    try:
        text = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _world() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return "-"
