"""Say what a benchmark is: subjects that do the same job, and how they are to be compared.

Knows no clock, no process and no table; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

Call = Callable[[], object]
"""Does the job once; raises if the answer is wrong, because a wrong answer is not a fast one.

In a benchmark whose calls measure by themselves it gives what it measured, as a ``float``.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """One way to do the job.

    :param name: What the tables call it; unique within a benchmark.
    :param open: Builds it in a process of its own, gives the call to be timed, and cleans up.
        Imports its library itself, so that no subject pays for what another one loads.
    :param at_most: What the project set itself, in seconds or bytes. Default: none.
    """

    name: str
    open: Callable[[], AbstractContextManager[Call]]
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio to a peer of the same run.

    :param name: What is compared.
    :param ours: Our subject's name.
    :param peer: The peer's name.
    :param over: A subject whose time is taken off both first, leaving what each *adds*.
        Default: nothing is taken off.
    :param at_most: The ratio the project set itself. Default: none, reported only.
    """

    name: str
    ours: str
    peer: str
    over: str | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Subjects of one job.

    :param name: What the command line calls it.
    :param title: What is measured, one line.
    :param subjects: The ways to do it.
    :param comparisons: The ratios to report.
    :param base: The subject whose time the table takes off the others. Default: none.
    :param unit: Of what is printed: ``"µs"`` or ``"ms"``, and the JSON is in seconds; or ``"MB"``,
        and it is in bytes.
    :param measures_itself: Whether a call gives what is to be compared, instead of being timed.
    :param together: Whether all subjects share one process, for ways that live in one app anyway.
    """

    name: str
    title: str
    subjects: tuple[Subject, ...]
    comparisons: tuple[Comparison, ...] = ()
    base: str | None = None
    unit: str = "µs"
    measures_itself: bool = False
    together: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """Something that is measured once and as a whole, such as an outage.

    :param name: What the command line calls it.
    :param title: What is measured, one line.
    :param run: Measures it and gives the rows of a table, the first one its heads. Told whether it
        need only prove that it runs.
    """

    name: str
    title: str
    run: Callable[[bool], list[list[str]]]
