"""Say how long tasks waited and ran lately. Knows neither tasks nor clocks.

Percentiles by nearest rank, so that each is the time of a task that there was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

LATELY: Final = 1_000
"""Tasks that count; each costs about 100 bytes."""


@dataclass(frozen=True, slots=True)
class DurationsSnapshot:
    """How long tasks took lately, in seconds; ``0.0`` where there was none.

    :ivar wait_p50: Half of the tasks started after so long, or sooner.
    :ivar wait_p90: Nine in ten did.
    :ivar wait_p99: All but one in a hundred did.
    :ivar run_p50: Half of the tasks ran so long, or shorter.
    :ivar run_p90: Nine in ten did.
    :ivar run_p99: All but one in a hundred did.
    """

    wait_p50: float = 0.0
    wait_p90: float = 0.0
    wait_p99: float = 0.0
    run_p50: float = 0.0
    run_p90: float = 0.0
    run_p99: float = 0.0


class Durations:
    """The last tasks' times. Any thread may record; they are sorted when they are read.

    :param lately: Tasks to remember.
    :ivar record: Remembers a task that ended, by the seconds from its submission to its start, and
        from there to its end.
    """

    def __init__(self, lately: int = LATELY) -> None:
        # Both times in one entry, because appending is one step that nothing can interrupt.
        self._ring: deque[tuple[float, float]] = deque(maxlen=lately)
        self.record: Callable[[tuple[float, float]], None] = self._ring.append

    def summary(self) -> DurationsSnapshot:
        """Sort what is remembered."""
        # copy() is one step, too; iterating fails if a thread records meanwhile.
        entries = self._ring.copy()
        if not entries:
            return DurationsSnapshot()
        waits, runs = (sorted(times) for times in zip(*entries, strict=True))
        return DurationsSnapshot(
            wait_p50=_percentile(waits, 50),
            wait_p90=_percentile(waits, 90),
            wait_p99=_percentile(waits, 99),
            run_p50=_percentile(runs, 50),
            run_p90=_percentile(runs, 90),
            run_p99=_percentile(runs, 99),
        )


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return ordered[ceil(len(ordered) * percent / 100) - 1]
