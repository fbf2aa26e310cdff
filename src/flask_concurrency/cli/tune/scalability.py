"""Fit how throughput grows with concurrency. Arithmetic alone: no clock, no load, no app.

The universal scalability law of N. J. Gunther, "Guerrilla Capacity Planning" (2007), chapter 5:
``X(n) = rate * n / (1 + queueing * (n - 1) + crosstalk * n * (n - 1))``. It is linear in its
unknowns when it is written for ``n / X(n)``, and so it is fitted here, with relative errors and no
negative terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, sqrt
from typing import Final

NEAR: Final = 0.9
"""Share of the highest throughput at which the knee is."""


@dataclass(frozen=True, slots=True)
class Level:
    """What was measured at one level of concurrency.

    :ivar concurrency: Requests under way at once.
    :ivar throughput: Answers a second.
    :ivar latency: Seconds an answer took in the mean.
    :ivar cpu: Processor seconds spent in a second.
    :ivar held_up: Seconds in a second for which its threads could run, and other processes ran.
    """

    concurrency: int
    throughput: float
    latency: float
    cpu: float
    held_up: float = 0.0


@dataclass(frozen=True, slots=True)
class Scalability:
    """The law's three numbers.

    :ivar rate: Answers a second of one request at a time.
    :ivar queueing: Share of the work that waits for its turn, 0 to 1.
    :ivar crosstalk: What each pair of requests costs; above 0, throughput falls again.
    """

    rate: float
    queueing: float
    crosstalk: float

    def throughput(self, concurrency: float) -> float:
        """Answers a second at a level of concurrency."""
        n = concurrency
        return self.rate * n / (1 + self.queueing * (n - 1) + self.crosstalk * n * (n - 1))

    @property
    def peak(self) -> float:
        """The concurrency of the highest throughput; ``inf`` where it only grows."""
        if self.crosstalk <= 0:
            return inf
        return max(1.0, sqrt(max(0.0, 1 - self.queueing) / self.crosstalk))


def fit(levels: Sequence[Level]) -> Scalability:
    """The law that comes nearest to what was measured.

    :param levels: Three different levels at the least.
    :raises ValueError: There are fewer.
    """
    if len({level.concurrency for level in levels}) < 3:
        raise ValueError("Three different levels of concurrency are needed to fit a curve.")
    rows, seen = [], []
    for level in levels:
        n, weight = level.concurrency, level.throughput / level.concurrency
        rows.append((weight, weight * (n - 1), weight * n * (n - 1)))
        seen.append(1.0)
    best: tuple[float, tuple[float, ...]] = (inf, (1.0, 0.0, 0.0))
    for size in (3, 2, 1):  # terms that would be negative are left out
        for used in combinations(range(3), size):
            if 0 not in used:
                continue
            solved = _least_squares([[row[place] for place in used] for row in rows], seen)
            if solved is None or min(solved) < 0 or solved[0] <= 0:
                continue
            terms = tuple(solved[used.index(k)] if k in used else 0.0 for k in range(3))
            error = sum(
                (sum(a * b for a, b in zip(row, terms, strict=True)) - 1) ** 2 for row in rows
            )
            if error < best[0] - 1e-12:
                best = error, terms
    one, queueing, crosstalk = best[1]
    return Scalability(1 / one, queueing / one, crosstalk / one)


def knee(levels: Sequence[Level], *, near: float = NEAR) -> Level:
    """The lowest level that comes near the highest throughput: beyond it only waits grow.

    :param near: Share of the highest that is near enough.
    """
    most = max(level.throughput for level in levels)
    ordered = sorted(levels, key=lambda level: level.concurrency)
    return next(level for level in ordered if level.throughput >= near * most)


def _least_squares(rows: list[list[float]], seen: list[float]) -> list[float] | None:
    """Solve the normal equations by elimination; ``None`` where they have no one solution."""
    size = len(rows[0])
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)]
        + [sum(row[i] * y for row, y in zip(rows, seen, strict=True))]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(matrix[row][column]))
        if abs(matrix[pivot][column]) < 1e-15:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for row in range(size):
            if row != column:
                factor = matrix[row][column] / matrix[column][column]
                matrix[row] = [
                    a - factor * b for a, b in zip(matrix[row], matrix[column], strict=True)
                ]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]
