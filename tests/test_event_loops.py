"""What tests wait with on a loop: until nothing is left to do, or until something came true."""

from __future__ import annotations

import asyncio
import threading

import pytest

import event_loops
from event_loops import until, until_idle


def test_a_loop_is_idle_when_all_others_wait() -> None:
    """However many turns they take before."""
    turns: list[int] = []

    async def work(left: int) -> None:
        turns.append(left)
        if left:
            asyncio.get_running_loop().call_soon(tasks.append, asyncio.create_task(work(left - 1)))
        await go_on.wait()

    async def story() -> None:
        tasks.append(asyncio.create_task(work(300)))
        await until_idle()
        assert turns == list(range(300, -1, -1))
        go_on.set()
        await asyncio.gather(*tasks)

    tasks: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()
    asyncio.run(story())


def test_a_loop_that_never_rests_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that polls would otherwise keep its test for ever."""
    monkeypatch.setattr(event_loops, "GIVE_UP", 0.001)

    async def poll() -> None:
        while True:
            await asyncio.sleep(0)

    async def story() -> None:
        polling = asyncio.create_task(poll())
        with pytest.raises(AssertionError, match="busy for"):
            await until_idle()
        polling.cancel()

    asyncio.run(story())


def test_what_a_thread_brings_about_is_waited_for() -> None:
    """And the loop runs meanwhile."""
    done = threading.Event()

    async def story() -> None:
        asyncio.get_running_loop().call_soon(threading.Thread(target=done.set).start)
        await until(done.is_set)

    asyncio.run(story())
    assert done.is_set()


def test_what_does_not_come_true_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason to wait for ever."""
    monkeypatch.setattr(event_loops, "GIVE_UP", 0.001)
    with pytest.raises(AssertionError, match="did not come true"):
        asyncio.run(until(lambda: False))
