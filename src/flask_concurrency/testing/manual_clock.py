"""Move time by hand. Knows nothing of what is being timed."""

from __future__ import annotations


class ManualClock:
    """A clock that stands still until it is moved.

    .. code-block:: python

        clock = ManualClock()
        store = MemoryStore(clock=clock)
        clock.advance(60)

    :param now: Where it starts, in seconds.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on; a clock never goes back.

        :raises ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"A clock never goes back: advance({seconds!r}).")
        self.now += seconds
