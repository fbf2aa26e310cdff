"""The executor behind ``asyncio.to_thread``: lent by its owner, and left open."""

from __future__ import annotations

import asyncio
import importlib.machinery
import importlib.util
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from flask_concurrency.executors.loop.loop_thread import LoopThread, default_loop_factory
from flask_concurrency.vocabulary.errors import ConfigurationError


class Inline(Executor):
    """An executor that is no ThreadPoolExecutor: it runs what it gets at once."""

    def __init__(self) -> None:
        self.ran: list[Callable[..., Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.ran.append(fn)
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


async def ask_for_a_thread() -> str:
    return await asyncio.to_thread(lambda: threading.current_thread().name)


def test_pitfall_22_blocking_work_of_the_loop_runs_on_the_lent_pool() -> None:
    """One pool and one bound: asyncio makes no threads of its own."""
    with ThreadPoolExecutor(1, thread_name_prefix="shared") as pool:
        loop = LoopThread(default_executor=pool)
        assert loop.run(ask_for_a_thread()).startswith("shared")
        assert loop.shutdown()
        assert pool.submit(int, "7").result() == 7, "the loop closed what it was lent"


def test_an_executor_of_any_kind_can_be_lent() -> None:
    """asyncio takes ThreadPoolExecutor alone; the loop takes every Executor."""
    lender = Inline()
    loop = LoopThread(default_executor=lender, name="inline")
    assert loop.run(ask_for_a_thread()) == "inline"
    assert len(lender.ran) == 1
    assert loop.shutdown()


def test_what_is_no_executor_is_refused_where_it_is_written() -> None:
    """The message names the value and what may stand there."""
    with pytest.raises(ConfigurationError, match="default_executor=8 is no concurrent"):
        LoopThread(default_executor=8)  # type: ignore[arg-type]


def test_uvloop_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its presence is enough; its absence is no error."""
    made = asyncio.new_event_loop()
    module = types.ModuleType("uvloop")
    module.__spec__ = importlib.machinery.ModuleSpec("uvloop", None)
    vars(module)["new_event_loop"] = lambda: made
    monkeypatch.setitem(sys.modules, "uvloop", module)
    assert default_loop_factory() is made
    made.close()


def test_asyncio_is_taken_where_uvloop_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The absence of uvloop is no error."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made = default_loop_factory()
    assert type(made).__module__.startswith("asyncio.")
    made.close()
