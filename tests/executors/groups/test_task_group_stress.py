"""Groups of everything at once, by the hundred: nothing hangs, and nothing is left over."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flask_concurrency.executors.groups.task_group import TaskGroup
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.deadline import remaining
from flask_concurrency.vocabulary.errors import DeadlineExceeded

pytestmark = pytest.mark.slow

SOON = 30.0
EXPECTED = (ValueError, KeyError, DeadlineExceeded, ExceptionGroup)


def work(group: Callable[..., TaskGroup], kind: str) -> object:
    """Return, fail, run until cancelled, or open a group inside."""
    if kind == "fail":
        raise ValueError(kind)
    if kind == "overrun":
        give_up_at = time.monotonic() + SOON
        while remaining() != 0.0:
            assert time.monotonic() < give_up_at
            time.sleep(0.0005)
    if kind == "nest":
        with group(timeout=0.01, policy="partial") as inner:
            inner.threads.submit(work, group, "overrun")
            inner.loop.submit(work_on_loop, "return")
    return kind


async def work_on_loop(kind: str) -> str:
    if kind == "fail":
        raise ValueError(kind)
    if kind == "overrun":
        await asyncio.Event().wait()
    return kind


def one(group: Callable[..., TaskGroup], chance: random.Random) -> TaskGroup:
    """A group of up to five tasks, whose body may fail or wait for one of them."""
    made = group(
        timeout=chance.choice([0.003, 0.01, 0.02]),
        policy=chance.choice(["all", "any", "settle", "partial"]),
    )
    with made:
        for _ in range(chance.randrange(6)):
            kind = chance.choice(["return", "fail", "overrun", "nest"])
            if kind != "nest" and chance.random() < 0.4:
                made.loop.submit(work_on_loop, kind)
            else:
                made.threads.submit(work, group, kind)
        if chance.random() < 0.2:
            raise KeyError("body")
        if made.tasks and chance.random() < 0.3:
            chance.choice(made.tasks).result()
    return made


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_left_of_many_groups(
    seed: int, loop: LoopThread, pool_of: Callable[..., ThreadExecutor]
) -> None:
    """Whatever each came to: its tasks have ended, and its loop and its threads are idle."""
    threads = pool_of(6, max_queue=None)
    made_groups: list[TaskGroup] = []
    wrong: list[BaseException] = []

    def group(**options: Any) -> TaskGroup:
        made = TaskGroup({"threads": threads}.__getitem__, loop, **options)
        made_groups.append(made)
        return made

    def many(chance: random.Random) -> None:
        for _ in range(100):
            try:
                one(group, chance)
            except EXPECTED:
                pass
            except BaseException as error:
                wrong.append(error)

    callers = [threading.Thread(target=many, args=(random.Random(4 * seed + n),)) for n in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    threads.shutdown()
    unfinished = [task for made in made_groups for task in made.tasks if not task.done()]
    assert (wrong, unfinished) == ([], [])
    assert len(made_groups) >= 400
    assert loop.snapshot().spawned == 0
    assert threads.snapshot().busy == threads.snapshot().overdue == 0
