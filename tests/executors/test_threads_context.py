"""What a task on threads sees of its caller, and how long it is held."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar, copy_context

import pytest

from flask_concurrency.executors.context import Carried, capture_context
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor

PoolOf = Callable[..., ThreadExecutor]
Occupy = Callable[[ThreadExecutor, int], threading.Event]


class Upload:
    """Something large that a context variable leads to."""


user: ContextVar[object] = ContextVar("user", default="nobody")


def test_a_task_sees_the_context_variables_of_its_caller(pool_of: PoolOf) -> None:
    """By every way in; what it sets there no other task sees."""
    pool = pool_of(1)

    def read_and_write() -> object:
        seen = user.get()
        user.set("somebody else")
        return seen

    async def main() -> object:
        user.set("loop")
        return await pool.run(read_and_write)

    def caller() -> list[object]:
        user.set("me")
        submitted = pool.submit(read_and_write).result(5)
        return [submitted, *pool.map(lambda _: read_and_write(), range(2)), asyncio.run(main())]

    assert copy_context().run(caller) == ["me", "me", "me", "loop"]
    assert pool.submit(user.get).result(5) == "nobody"


def test_a_nested_task_sees_its_parents_variables(pool_of: PoolOf) -> None:
    """Also when it runs inline, where it must not change them."""
    pool = pool_of(1)

    def child() -> object:
        seen = user.get()
        user.set("child")
        return seen

    def parent() -> tuple[object, object]:
        user.set("parent")
        return pool.submit(child).result(5), user.get()

    assert pool.submit(parent).result(5) == ("parent", "parent")


def test_pitfall_3_overlapping_tasks_do_not_share_one_context(pool_of: PoolOf) -> None:
    """All tasks of one caller are inside their contexts at the same time."""
    pool = pool_of(4)
    barrier = threading.Barrier(4, timeout=5)

    def enter(i: int) -> object:
        user.set(i)
        barrier.wait()
        return user.get()

    assert list(pool.map(enter, range(4))) == list(range(4))


def test_a_map_captures_its_caller_once(pool_of: PoolOf) -> None:
    """However many calls it makes; ``submit`` captures for each."""
    captures: list[Carried] = []

    def carry() -> Carried:
        captures.append(capture_context())
        return captures[-1]

    pool = pool_of(2, carry=carry)
    list(pool.map(int, range(20)))
    assert len(captures) == 1
    for _ in range(3):
        pool.submit(int).result(5)
    assert len(captures) == 4


def fail() -> None:
    raise LookupError


@pytest.mark.parametrize(
    "use",
    [
        lambda pool: pool.submit(int),
        lambda pool: pool.submit(fail),
        lambda pool: pool.submit(fail).exception(5),
        lambda pool: list(pool.map(int, range(3))),
        lambda pool: pool.map(int, range(3)),
        lambda pool: pool.submit(lambda: pool.submit(fail).exception(5)).result(5),
    ],
    ids=["done", "failed", "error", "mapped", "mapping", "nested"],
)
def test_pitfall_6_what_a_task_saw_is_let_go_when_it_ends(
    pool_of: PoolOf, use: Callable[[ThreadExecutor], object]
) -> None:
    """An upload goes, although future, results or exception, and its traceback, are kept."""
    pool = pool_of(1)
    kept: list[object] = []

    def caller() -> weakref.ref[Upload]:
        upload = Upload()
        user.set(upload)
        kept.append(use(pool))
        return weakref.ref(upload)

    ref = copy_context().run(caller)
    pool.shutdown()
    assert ref() is None


def test_a_cancelled_task_lets_go_while_the_threads_are_busy(
    pool_of: PoolOf, occupy: Occupy
) -> None:
    """A client that has left does not hold memory until some thread is free."""
    pool = pool_of(1)
    occupy(pool, 1)
    kept: list[object] = []

    def caller() -> weakref.ref[Upload]:
        upload = Upload()
        user.set(upload)
        kept.append(future := pool.submit(int))
        future.cancel()
        return weakref.ref(upload)

    ref = copy_context().run(caller)
    assert ref() is None


def test_pitfall_7_threads_inherit_no_context(pool_of: PoolOf) -> None:
    """The request that needs one more thread is not kept by it, on any version of Python.

    From 3.14 on ``Thread.start`` may copy the context variables; here it finds none to copy.
    """
    pool = pool_of(1)
    seen: list[object] = []
    start = threading.Thread.start

    def watched(thread: threading.Thread) -> None:
        seen.append(user.get())
        start(thread)

    def caller() -> int:
        user.set("a request")
        threading.Thread.start = watched  # type: ignore[assignment,method-assign]
        try:
            return pool.submit(int, "7").result(5)
        finally:
            threading.Thread.start = start  # type: ignore[method-assign]

    assert copy_context().run(caller) == 7
    assert set(seen) == {"nobody"}


def test_pitfall_22_the_loops_default_executor_is_the_same_pool(pool_of: PoolOf) -> None:
    """``asyncio.to_thread`` runs on our threads, within our bound, and closes nothing of ours."""
    pool = pool_of(1, name="ours")
    loop = LoopThread(default_executor=pool)

    async def main() -> str:
        return (await asyncio.to_thread(threading.current_thread)).name

    assert loop.run(main()).startswith("ours")
    assert loop.shutdown(timeout=5)
    assert pool.submit(int, "7").result(5) == 7
