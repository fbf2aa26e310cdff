"""Decide how much memory the machine, or the container around this process, has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_memory() -> int:
    """Return the bytes that this machine or container may use altogether."""
    limits = [_physical_memory()]
    for path in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such limit, or "max"
            limits.append(int(path.read_text()))
    return min(limits)


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows, where nothing is shared anyway
        return 1 << 30
