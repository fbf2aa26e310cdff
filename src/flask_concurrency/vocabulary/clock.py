"""Read the time. Everything else is handed an instant or a clock, or takes one of these two.

The exceptions stand alone: ``flask concurrency tune`` times what it sends, and the process that
watches over a job worker imports nothing of the package.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives an instant in seconds; only differences mean anything, and it never goes back."""

monotonic: Clock = time.monotonic

wall: Clock = time.time
"""Seconds since 1970, which other machines count, too; it may be set, and then goes back."""
