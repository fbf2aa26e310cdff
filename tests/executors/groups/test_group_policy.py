"""What becomes of a group's tasks, in whatever order they end, is what a plain model says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_concurrency.executors.groups.policy import POLICIES, PolicyName, describe_failures
from flask_concurrency.executors.groups.result import TaskResult
from flask_concurrency.executors.groups.task_group import TaskGroup
from flask_concurrency.vocabulary.errors import ConfigurationError, DeadlineExceeded

TIME_UP = -1


@dataclass(frozen=True)
class Script:
    """What happens to a group.

    :ivar events: In their order: the number of a task that ends, or ``TIME_UP``.
    :ivar how: How each task would end, if it is let.
    """

    events: list[int]
    how: list[str]


@dataclass
class Model:
    """The rules in the plainest words: one event after the other."""

    policy: PolicyName
    script: Script
    ended: dict[int, str] = field(default_factory=dict)
    steps: list[dict[int, str]] = field(default_factory=list)
    deciding: int | None = None

    def play(self) -> Model:
        for event in self.script.events:
            if event == TIME_UP:
                self.end_rest("late")
            elif event not in self.ended:
                how = self.script.how[event]
                self.ended[event] = how
                last = {"all": "failed", "partial": "failed", "any": "done", "settle": ""}
                if how == last[self.policy]:
                    self.deciding = event
                    self.end_rest("cancelled")
            self.steps.append(dict(self.ended))
        return self

    def end_rest(self, how: str) -> None:
        for task in range(len(self.script.how)):
            self.ended.setdefault(task, how)

    def with_ending(self, how: str) -> list[int]:
        return sorted(task for task in self.ended if self.ended[task] == how)


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Up to five tasks that end in any order, time that is up before any of them or never."""
    how = draw(st.lists(st.sampled_from(["done", "failed", "cancelled"]), max_size=5))
    events = draw(st.permutations(range(len(how))))
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, len(events))), TIME_UP)
    return Script(events, how)


def run(script: Script, bench: Any, group: TaskGroup) -> Any:
    """Let it happen to a real group, and note after each step how each of its tasks is."""
    errors = [ValueError(number) for number in range(len(script.how))]
    steps = []
    raised: BaseException | None = None
    try:
        with group:
            tasks = [group.executor("hand").submit(abs, number) for number in range(len(errors))]
            for event in script.events:
                if event == TIME_UP:
                    bench.alarms.advance(20)
                elif script.how[event] == "cancelled":
                    tasks[event].cancel()
                else:
                    error = errors[event] if script.how[event] == "failed" else None
                    bench.hand.end(event, result=event, error=error)
                steps.append({n: task.outcome().how for n, task in enumerate(tasks) if task.done()})
    except BaseException as error:
        raised = error
    return steps, raised, errors


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None)
@given(script=scripts())
def test_a_group_does_what_the_model_says(
    by_hand: Callable[[], Any], policy: PolicyName, script: Script
) -> None:
    """Which task is cancelled after which event, and what comes of the whole."""
    bench = by_hand()
    group = bench.group(timeout=10, policy=policy)

    model = Model(policy, script).play()
    steps, raised, errors = run(script, bench, group)

    assert steps == model.steps
    assert len(bench.alarms) == 0
    late, failed = model.with_ending("late"), model.with_ending("failed")
    if policy in ("all", "partial") and model.deciding is not None:
        assert raised is errors[model.deciding]
    elif policy in ("all", "any") and late and model.deciding is None:
        assert isinstance(raised, DeadlineExceeded)
        assert all(f"#{number + 1} abs" in str(raised) for number in late)
    elif policy == "any" and model.deciding is None and failed:
        assert isinstance(raised, ExceptionGroup)
        assert raised.exceptions == tuple(errors[number] for number in failed)
    else:
        assert raised is None
        assert_results(policy, model, group)


def assert_results(policy: PolicyName, model: Model, group: TaskGroup) -> None:
    """A group that raised nothing gives what its policy promises."""
    done = model.with_ending("done")
    if policy == "any":
        assert group.results() == ([] if model.deciding is None else [model.deciding])
    elif policy == "partial":
        assert group.results() == done
        assert len(group.missing) == len(model.ended) - len(done)
    elif policy == "settle":
        assert [result.how for result in group.results()] == [
            model.ended[number] for number in sorted(model.ended)
        ]
    elif model.with_ending("cancelled"):
        with pytest.raises(CancelledError):
            group.results()
    else:
        assert group.results() == done == sorted(model.ended)


def test_the_first_error_names_its_task_and_every_sibling() -> None:
    """By number and name, so that five calls of one function can be told apart."""
    error = ValueError("no")
    results = [
        TaskResult("fetch", "done", 1),
        TaskResult("fetch", "failed", error=error),
        TaskResult("crunch", "cancelled"),
        TaskResult("fetch", "failed", error=OSError("gone")),
        TaskResult("sleep", "late", error=DeadlineExceeded()),
    ]

    conclusion = POLICIES["all"].conclude(results, 1)

    assert conclusion.error is error
    assert conclusion.notes == (
        "Raised by task #2 fetch (ValueError('no')) of 5 in a group.",
        "Its siblings that were cancelled: #3 crunch.",
        "Its siblings that did not end in time: #5 sleep.",
        "Its siblings that failed, too: #4 fetch (OSError('gone')).",
    )


def test_a_message_names_ten_tasks_at_most() -> None:
    """A fan-out of a thousand does not fill the log."""
    results = [TaskResult("fetch", "late", error=DeadlineExceeded()) for _ in range(1_000)]

    told = str(POLICIES["all"].conclude(results, None).error)

    assert "1000 of its 1000 tasks" in told
    assert "#10 fetch and 990 more" in told
    assert "#11" not in told


def test_what_failed_before_time_was_up_is_told_where_one_result_was_wanted() -> None:
    """``any`` waited for the slow one in vain; the quick ones had failed."""
    results = [
        TaskResult("a", "failed", error=ValueError("no")),
        TaskResult("b", "late", error=DeadlineExceeded()),
    ]

    assert POLICIES["any"].conclude(results, None).notes == (
        "Failed before: #1 a (ValueError('no')).",
    )


def test_an_exit_among_the_errors_is_no_ordinary_group_of_errors() -> None:
    """``sys.exit()`` in a task is not swallowed by ``except Exception``."""
    results = [TaskResult("leave", "failed", error=SystemExit(1))]

    error = POLICIES["any"].conclude(results, None).error

    assert isinstance(error, BaseExceptionGroup)
    assert not isinstance(error, Exception)


def test_an_error_of_the_body_is_not_told_about_itself() -> None:
    """But about other tasks that failed meanwhile."""
    own, other = ValueError("own"), ValueError("other")
    results = [TaskResult("a", "failed", error=own), TaskResult("b", "failed", error=other)]

    assert describe_failures(results[:1], apart_from=own) == ()
    assert describe_failures(results, apart_from=own) == (
        "Tasks of the group that failed: #2 b (ValueError('other')).",
    )


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": True},
        {"timeout": "2"},
        {"policy": "first"},
        {"policy": None},
        {"policy": ["all"]},
    ],
    ids=str,
)
def test_options_that_cannot_be_meant_are_refused(
    by_hand: Callable[[], Any], options: dict[str, Any]
) -> None:
    """Where they are written, naming the value."""
    with pytest.raises(ConfigurationError) as refused:
        by_hand().group(**options)

    assert repr(next(iter(options.values()))) in str(refused.value)
