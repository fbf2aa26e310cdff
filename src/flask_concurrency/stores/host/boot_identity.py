"""Name the clock whose instants are comparable: this boot, in this time namespace.

Knows no file of ours. CLOCK_MONOTONIC starts over when the machine does, so an instant of an
earlier boot says nothing today.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from flask_concurrency.stores.host.header import BOOT_IDENTITY_SIZE

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIME_NAMESPACE = Path("/proc/self/ns/time")


def current_boot_identity() -> bytes | None:
    """The identity of this process's clock: the same in all processes that read that clock.

    ``None`` where the kernel names no boot: then only a living process vouches for a file.
    """
    try:
        boot = BOOT_ID.read_bytes().strip()
    except OSError:
        return None
    try:
        clock = os.fsencode(os.readlink(TIME_NAMESPACE))
    except OSError:  # a kernel without time namespaces
        clock = b""
    return hashlib.blake2b(boot + b"\0" + clock, digest_size=BOOT_IDENTITY_SIZE).digest()
