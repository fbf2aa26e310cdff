"""An executor, a clock and alarms that do what a test says, when it says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from time import monotonic
from typing import Any

import pytest

from flask_concurrency.executors.groups.task_group import TaskGroup
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.runtime.timer_thread import Alarm, Timekeeper
from flask_concurrency.testing.manual_clock import ManualClock


class HandExecutor(Executor):
    """Runs nothing by itself: a test ends each task by hand, by its number."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self.calls: list[Callable[[], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a call, and leave it."""
        future: Future[Any] = Future()
        self.futures.append(future)
        self.calls.append(lambda: fn(*args, **kwargs))
        return future

    def begin(self, number: int) -> None:
        """From now on the call cannot be cancelled, as on a thread."""
        self.futures[number].set_running_or_notify_cancel()

    def end(self, number: int, result: object = None, error: BaseException | None = None) -> None:
        """End a call, unless it was cancelled."""
        future = self.futures[number]
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class HandAlarms:
    """Alarms that ring when a test moves the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._keeper = Timekeeper(clock)
        self._set: list[Alarm] = []

    def call_at(self, at: float, callback: Callable[[], object]) -> Alarm:
        """Note an alarm."""
        self._set.append(Alarm(at, callback, self._keeper))
        return self._set[-1]

    def advance(self, seconds: float) -> None:
        """Let time pass, and ring what is due by then."""
        self._clock.advance(seconds)
        for alarm in self._set:
            if alarm.at <= self._clock() and alarm.callback is not None:
                callback, alarm.callback = alarm.callback, None
                callback()

    def __len__(self) -> int:
        """Alarms that may still ring."""
        return sum(alarm.callback is not None for alarm in self._set)


class Bench:
    """What a test of groups needs: ``hand`` is ended by hand, ``threads`` and ``loop`` are real."""

    def __init__(self, loop: LoopThread, **executors: Executor) -> None:
        self.hand = HandExecutor()
        self.executors = {"hand": self.hand, **executors}
        # Far ahead: no executor that looks at the real clock ever finds a task expired.
        self.clock = ManualClock(monotonic() // 1 + 1_000_000)
        self.alarms = HandAlarms(self.clock)
        self.loop = loop

    def group(self, **options: Any) -> TaskGroup:
        """A group whose time passes when a test says so."""
        return TaskGroup(
            self.executors.__getitem__,
            self.loop,
            clock=self.clock,
            call_at=self.alarms.call_at,
            **options,
        )

    @contextmanager
    def failing(
        self, error: type[BaseException], match: str | None = None, **options: Any
    ) -> Iterator[tuple[TaskGroup, pytest.ExceptionInfo[Any]]]:
        """The block of a group that must raise an error."""
        with ExitStack() as stack:
            caught = stack.enter_context(pytest.raises(error, match=match))
            yield stack.enter_context(self.group(**options)), caught

    @asynccontextmanager
    async def failing_on_loop(
        self, error: type[BaseException], match: str | None = None, **options: Any
    ) -> AsyncIterator[tuple[TaskGroup, pytest.ExceptionInfo[Any]]]:
        """The same with ``async with``."""
        async with AsyncExitStack() as stack:
            caught = stack.enter_context(pytest.raises(error, match=match))
            yield await stack.enter_async_context(self.group(**options)), caught


@pytest.fixture(scope="session")
def by_hand() -> Callable[[], Bench]:
    """Make a bench without threads, for one example of many."""
    return lambda: Bench(LoopThread())


@pytest.fixture
def bench(pool_of: Callable[..., ThreadExecutor], loop: LoopThread) -> Iterator[Bench]:
    """A bench that must be left without an alarm."""
    bench = Bench(loop, threads=pool_of(4))
    yield bench
    assert len(bench.alarms) == 0
