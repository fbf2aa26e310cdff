"""Reduce rounds to medians, quartiles and ratios. Knows no process and no table."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.benchmark import Comparison
from benchmarks.harness import Run


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the values of all rounds lie. The minimum is what an undisturbed machine gave.

    :ivar minimum: The least value.
    :ivar lower: First quartile.
    :ivar median: Half of the values lie below.
    :ivar upper: Third quartile.
    """

    minimum: float
    lower: float
    median: float
    upper: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """What became of a comparison.

    :ivar comparison: What was compared.
    :ivar ours: Our median in seconds a call, what both share taken off.
    :ivar peer: The peer's, likewise.
    :ivar ratio: The ratios of all rounds, each formed within its round; ``None`` if a subject
        failed.
    """

    comparison: Comparison
    ours: float | None
    peer: float | None
    ratio: Spread | None

    @property
    def reached(self) -> bool | None:
        """Whether the median ratio meets the target; ``None`` without a target or a ratio."""
        if self.comparison.at_most is None or self.ratio is None:
            return None
        return self.ratio.median <= self.comparison.at_most


def spread(values: list[float]) -> Spread:
    """Summarise at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], values[0])
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return Spread(min(values), lower, middle, upper)


def compare(run: Run, comparison: Comparison) -> Ratio:
    """Form the ratio round by round: what disturbed one round disturbed both sides of it."""
    ours = _above(run, comparison.ours, comparison.over)
    peer = _above(run, comparison.peer, comparison.over)
    if ours is None or peer is None:
        return Ratio(comparison, None, None, None)
    # A peer that adds nothing within the noise has no ratio in that round.
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True) if theirs > 0]
    return Ratio(comparison, median(ours), median(peer), spread(ratios) if ratios else None)


def _above(run: Run, subject: str, over: str | None) -> list[float] | None:
    """Seconds of a subject in each round, with the time of ``over`` in that round taken off."""
    seconds = run.seconds.get(subject)
    if seconds is None or over is None:
        return seconds
    base = run.seconds.get(over)
    if base is None:
        return None
    return [mine - theirs for mine, theirs in zip(seconds, base, strict=True)]
