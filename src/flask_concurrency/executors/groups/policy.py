"""Decide when a group cancels its tasks, and what it gives or raises in the end. Arithmetic only.

Knows no future, thread or clock: a policy is asked when a task has ended, and once all have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from flask_concurrency.executors.groups.result import How, TaskResult
from flask_concurrency.runtime.deadline_messages import group_incomplete
from flask_concurrency.vocabulary.errors import DeadlineExceeded

PolicyName = Literal["all", "any", "settle", "partial"]
Results = Sequence[TaskResult]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What comes of a group.

    :ivar error: Raised at the end of the block; ``None`` if it ended well.
    :ivar notes: What is added to the error, one line each.
    :ivar kept: Numbers of the tasks whose results the group gives, in their order.
    :ivar covers_body: Whether the block ended well although its body waited in vain for a task
        that was cancelled or late.
    """

    error: BaseException | None = None
    notes: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    covers_body: bool = False


class Policy(Protocol):
    """What a group makes of its tasks' endings."""

    def stops(self, how: How) -> bool:
        """Whether a task that ended so is the last one needed, so that the rest is cancelled."""

    def conclude(self, results: Results, deciding: int | None) -> Conclusion:
        """What comes of the group, now that all of its tasks have ended.

        :param results: In the order in which the tasks were submitted.
        :param deciding: Number of the task that stopped the group; ``None`` if none did.
        """


class AllResults:
    """All results are needed: the first error ends the group."""

    def stops(self, how: How) -> bool:
        """At the first error."""
        return how == "failed"

    def conclude(self, results: Results, deciding: int | None) -> Conclusion:
        """The first error, or that time ran out, or all results."""
        if deciding is not None:
            error = results[deciding].error
            return Conclusion(error, tuple(_story(results, deciding)))
        if late := _numbers(results, "late"):
            return Conclusion(_out_of_time(results, late))
        return Conclusion(kept=tuple(range(len(results))))


class ReadyResults(AllResults):
    """What is ready at the deadline is the result; an error before ends the group."""

    def conclude(self, results: Results, deciding: int | None) -> Conclusion:
        """The first error, or the results that there are."""
        if deciding is not None:
            return super().conclude(results, deciding)
        return Conclusion(kept=_numbers(results, "done"), covers_body=True)


class FirstResult:
    """One result is needed: the first ends the group."""

    def stops(self, how: How) -> bool:
        """At the first result."""
        return how == "done"

    def conclude(self, results: Results, deciding: int | None) -> Conclusion:
        """The first result, or that there was none, and why."""
        if deciding is not None:
            return Conclusion(kept=(deciding,), covers_body=True)
        if late := _numbers(results, "late"):
            failed = _numbers(results, "failed")
            notes = (f"Failed before: {_list(results, failed)}.",) if failed else ()
            return Conclusion(_out_of_time(results, late), notes)
        errors = [result.error for result in results if result.error is not None]
        if not errors:
            return Conclusion()
        return Conclusion(BaseExceptionGroup(f"None of {len(results)} tasks succeeded", errors))


class Outcomes:
    """Every ending is a result: nothing ends the group but time."""

    def stops(self, how: How) -> bool:
        """Never."""
        return False

    def conclude(self, results: Results, deciding: int | None) -> Conclusion:
        """All endings."""
        return Conclusion(kept=tuple(range(len(results))), covers_body=True)


POLICIES: Final[Mapping[PolicyName, Policy]] = {
    "all": AllResults(),
    "any": FirstResult(),
    "settle": Outcomes(),
    "partial": ReadyResults(),
}


def describe_failures(results: Results, *, apart_from: BaseException) -> tuple[str, ...]:
    """What failed while the block ended by an error of its own."""
    failed = [n for n in _numbers(results, "failed") if results[n].error is not apart_from]
    return (f"Tasks of the group that failed: {_list(results, failed)}.",) if failed else ()


def _story(results: Results, deciding: int) -> Iterator[str]:
    yield f"Raised by task {_label(results, deciding)} of {len(results)} in a group."
    siblings = [number for number in range(len(results)) if number != deciding]
    for how, sentence in (
        ("cancelled", "Its siblings that were cancelled: {}."),
        ("late", "Its siblings that did not end in time: {}."),
        ("failed", "Its siblings that failed, too: {}."),
    ):
        if named := [number for number in siblings if results[number].how == how]:
            yield sentence.format(_list(results, named))


def _out_of_time(results: Results, late: Sequence[int]) -> DeadlineExceeded:
    return group_incomplete(len(late), len(results), _list(results, late))


def _numbers(results: Results, how: How) -> tuple[int, ...]:
    return tuple(number for number, result in enumerate(results) if result.how == how)


def _list(results: Results, numbers: Sequence[int]) -> str:
    shown = ", ".join(_label(results, number) for number in numbers[:_SHOWN])
    left = len(numbers) - _SHOWN
    return shown if left <= 0 else f"{shown} and {left} more"


def _label(results: Results, number: int) -> str:
    result = results[number]
    error = f" ({result.error!r})" if result.how == "failed" and result.error is not None else ""
    return f"#{number + 1} {result.task}{error}"


_SHOWN: Final = 10
"""Tasks that a message names before it only counts."""
