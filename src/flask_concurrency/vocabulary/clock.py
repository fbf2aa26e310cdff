"""Read the time. The one file that does; everything else is handed a clock or an instant."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives an instant in seconds; only differences mean anything, and it never goes back."""

monotonic: Clock = time.monotonic

wall: Clock = time.time
"""Seconds since 1970, which other machines count, too; it may be set, and then goes back."""
