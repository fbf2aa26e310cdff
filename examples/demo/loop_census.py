"""Count the event loops that a process's views run on. Knows no Flask."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from weakref import WeakKeyDictionary

_numbers: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
_next = itertools.count(1)


def where_it_runs() -> dict[str, float]:
    """Say which process and which of its loops runs this coroutine.

    :returns: ``process``, ``loop`` (numbered in the order seen), and ``cpu``, the seconds of
        processor time that the process has used so far.
    """
    loop = asyncio.get_running_loop()
    if loop not in _numbers:
        _numbers[loop] = next(_next)
    return {"process": os.getpid(), "loop": _numbers[loop], "cpu": time.process_time()}
