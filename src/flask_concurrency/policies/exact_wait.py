"""Round a wait up so that it is exact: a request at that very instant is admitted.

Floating point may put the solved instant a hair too early; no policy should tell a client so.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf

MICROSECOND = 1e-6
"""The finest wait returned. Stores on other machines count in it, too."""


def exact_wait(wait: float, now: float, admits: Callable[[float], bool]) -> float:
    """The first whole microsecond, but for rounding, not before ``wait`` at which ``admits`` holds.

    :param wait: Seconds from ``now``, solved on paper.
    :param admits: Whether a request at an instant would be admitted; true from some instant on.
    """
    wait = ceil(max(0.0, wait) / MICROSECOND) * MICROSECOND
    step = MICROSECOND
    while not admits(now + wait) and wait < inf:
        wait += step
        step *= 2  # in centuries a single microsecond is lost in the rounding, for ever
    return wait
