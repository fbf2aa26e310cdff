"""A coroutine handed to the loop: where it runs, what it sees, how it ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import signal
import sys
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from event_loops import until_idle
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.vocabulary.errors import LoopBlocked

COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("COLOUR", default="none")


async def where() -> tuple[asyncio.AbstractEventLoop, int]:
    return asyncio.get_running_loop(), threading.get_ident()


def test_nothing_starts_before_the_first_use(loop: LoopThread) -> None:
    """An application that has no coroutine pays for no thread."""
    assert not loop.snapshot().alive


def test_all_calls_share_one_loop_on_one_thread(loop: LoopThread) -> None:
    """Ten calls from three threads meet the same loop, on a thread that is none of theirs."""
    with ThreadPoolExecutor(3) as pool:
        places = set(pool.map(lambda _: loop.run(where()), range(10)))
    assert len(places) == 1
    assert places.pop()[1] != threading.get_ident()


def test_pitfall_9_a_lock_made_in_one_call_works_in_the_next(loop: LoopThread) -> None:
    """What binds itself to a loop stays usable, because the loop stays."""

    async def make() -> asyncio.Lock:
        lock = asyncio.Lock()
        await lock.acquire()  # a lock binds itself to the loop only when a task has to wait
        waiter = asyncio.ensure_future(lock.acquire())
        await until_idle()
        lock.release()
        await waiter
        return lock

    async def use(lock: asyncio.Lock) -> bool:
        waiter = asyncio.ensure_future(lock.acquire())
        await until_idle()
        lock.release()
        return await waiter

    assert loop.run(use(loop.run(make())))


def test_pitfall_9_a_task_started_in_one_call_lives_on_in_the_next(loop: LoopThread) -> None:
    """The end of a call cancels nothing but that call."""

    async def start() -> tuple[asyncio.Event, asyncio.Task[bool]]:
        event = asyncio.Event()
        return event, asyncio.create_task(event.wait())

    async def finish(event: asyncio.Event, task: asyncio.Task[bool]) -> bool:
        event.set()
        return await task

    assert loop.run(finish(*loop.run(start())))


def test_fifty_callers_wait_at_the_same_time(loop: LoopThread) -> None:
    """Fifty coroutines meet at one barrier, so all of them were on the loop at once."""

    async def make() -> asyncio.Barrier:
        return asyncio.Barrier(50)

    async def meet(barrier: asyncio.Barrier) -> int:
        return await barrier.wait()

    barrier = loop.run(make())
    with ThreadPoolExecutor(50) as pool:
        places = list(pool.map(lambda _: loop.run(meet(barrier)), range(50)))
    assert sorted(places) == list(range(50))


def test_the_coroutine_sees_the_callers_context_variables(loop: LoopThread) -> None:
    """What is set before the call is read on the loop."""

    async def read() -> str:
        return COLOUR.get()

    context = contextvars.copy_context()
    context.run(COLOUR.set, "red")
    assert context.run(lambda: loop.run(read())) == "red"


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_the_caller_sees_what_the_coroutine_set(loop: LoopThread, fails: bool) -> None:
    """Changes come back also after an await, and also when the coroutine raises."""

    async def change() -> None:
        await asyncio.sleep(0)
        COLOUR.set("blue")
        if fails:
            raise LookupError("after the change")

    def call() -> str:
        try:
            loop.run(change())
        except LookupError:
            assert fails
        return COLOUR.get()

    assert contextvars.copy_context().run(call) == "blue"
    assert COLOUR.get() == "none"


def test_concurrent_callers_keep_their_own_context(loop: LoopThread) -> None:
    """Twenty callers that wait together get their own value back, each of them."""

    async def make() -> asyncio.Barrier:
        return asyncio.Barrier(20)

    barrier = loop.run(make())

    async def change(colour: str) -> None:
        COLOUR.set(colour)
        await barrier.wait()
        COLOUR.set(COLOUR.get() + "!")

    def call(number: int) -> str:
        loop.run(change(str(number)))
        return COLOUR.get()

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda n: contextvars.copy_context().run(call, n), range(20)))
    assert found == [f"{number}!" for number in range(20)]


def test_the_loop_keeps_nothing_of_the_request_that_started_it(loop: LoopThread) -> None:
    """The thread starts with an empty context, whatever its starter's was."""

    async def read_outside_the_call() -> str:
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        contextvars.Context().run(
            asyncio.get_running_loop().call_soon, lambda: found.set_result(COLOUR.get())
        )
        return await found

    context = contextvars.copy_context()
    context.run(COLOUR.set, "the first request")
    assert context.run(lambda: loop.run(read_outside_the_call())) == "none"


def test_an_exception_reaches_the_caller_with_the_coroutines_frames(loop: LoopThread) -> None:
    """The traceback leads from the call to the line that raised, with no asyncio in between."""

    async def deep() -> None:
        raise LookupError("the very one")

    async def view() -> None:
        await deep()

    with pytest.raises(LookupError, match="the very one") as caught:
        loop.run(view())
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames[-2:]] == ["view", "deep"]
    assert not any("asyncio" in frame.filename for frame in frames)
    assert caught.value.__context__ is None


def test_an_exception_that_was_handled_leaves_no_cycle(loop: LoopThread) -> None:
    """A failed upload is freed at once, not at the next collection."""

    class Failure(Exception):
        pass

    async def fail() -> None:
        raise Failure

    def call() -> weakref.ref[Failure]:
        try:
            loop.run(fail())
        except Failure as failure:
            return weakref.ref(failure)
        raise AssertionError("nothing was raised")

    gc.disable()
    try:
        failure = call()
        loop.run(where())  # by now the loop's thread has released the failed task
        assert failure() is None
    finally:
        gc.enable()


def test_an_error_handler_finds_the_exception_being_handled(loop: LoopThread) -> None:
    """``sys.exception()`` and a bare ``raise`` mean on the loop what they mean in the caller."""

    async def handler() -> None:
        await asyncio.sleep(0)
        assert isinstance(sys.exception(), ZeroDivisionError)
        raise

    def view() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            loop.run(handler())

    with pytest.raises(ZeroDivisionError):
        view()


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_pitfall_12_a_coroutine_that_ends_itself_does_not_end_the_loop(
    loop: LoopThread, ending: type[BaseException]
) -> None:
    """``sys.exit()`` in one request reaches its caller, and the loop serves the next."""
    before = loop.run(where())

    async def end() -> None:
        raise ending

    with pytest.raises(ending):
        loop.run(end())
    assert loop.run(where()) == before


def test_pitfall_12_a_cancelled_coroutine_raises_an_ordinary_exception(loop: LoopThread) -> None:
    """asyncio's CancelledError is no Exception and would pass by every error handler."""

    async def cancel_myself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(concurrent.futures.CancelledError, match=r"'.*cancel_myself' was cancelled"):
        loop.run(cancel_myself())
    assert issubclass(concurrent.futures.CancelledError, Exception)


def test_a_coroutine_cancelled_before_its_first_step_warns_of_nothing(loop: LoopThread) -> None:
    """The coroutine is closed, although its body never ran."""

    async def never() -> None:
        raise AssertionError("it ran")

    async def cancel_all_others() -> None:
        while not (others := asyncio.all_tasks() - {asyncio.current_task()}):
            await asyncio.sleep(0)
        for other in others:
            other.cancel()

    with ThreadPoolExecutor(1) as pool:
        canceller = pool.submit(loop.run, cancel_all_others())
        with pytest.raises(concurrent.futures.CancelledError):
            loop.run(never())
        canceller.result()


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_an_interrupted_caller_takes_its_coroutine_along(
    loop: LoopThread, ending: type[BaseException]
) -> None:
    """The task is cancelled, and its ``finally`` has run when the interrupt goes on."""
    cleaned_up = []

    def interrupt(*_: object) -> None:
        raise ending

    async def wait_for_ever() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(True)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(ending):
            loop.run(wait_for_ever())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert cleaned_up == [True]
    assert loop.snapshot().waiting == 0


def test_pitfall_21_blocking_on_the_loop_from_the_loop_raises(loop: LoopThread) -> None:
    """Instead of a deadlock: an error that says what to write, and no unawaited coroutine."""

    async def view() -> None:
        loop.run(where())

    with pytest.raises(LoopBlocked, match=r"'await where\(\.\.\.\)'.*concurrency\.threads\.run"):
        loop.run(view())


def test_pitfall_21_a_synchronous_wrapper_called_on_the_loop_raises(loop: LoopThread) -> None:
    """A hook made synchronous cannot hide the deadlock either."""
    blocking = loop.async_to_sync(where)

    async def view() -> None:
        blocking()

    with pytest.raises(LoopBlocked, match="'where' would be waited for"):
        loop.run(view())


def test_pitfall_21_a_thread_the_loop_waits_for_may_use_the_loop(loop: LoopThread) -> None:
    """Blocking code that was taken off the loop can call back to it."""

    async def view() -> bool:
        return await asyncio.to_thread(loop.run, where()) == await where()

    assert loop.run(view())


def test_a_wrapper_keeps_name_arguments_and_result(loop: LoopThread) -> None:
    """``async_to_sync`` gives a plain function that looks like the one it was made from."""

    async def add(left: int, right: int = 0) -> int:
        """Add."""
        return left + right

    wrapped = loop.async_to_sync(add)
    assert wrapped(2, right=3) == 5
    assert (wrapped.__name__, wrapped.__doc__) == ("add", "Add.")
    assert not inspect.iscoroutinefunction(wrapped)


def test_a_function_that_was_not_called_is_refused(loop: LoopThread) -> None:
    """The message shows the call that is missing."""
    with pytest.raises(TypeError, match=r"is no coroutine\. Call the asynchronous function"):
        loop.run(where)  # type: ignore[arg-type]


def test_the_snapshot_counts_callers_and_ends(loop: LoopThread) -> None:
    """Two waiting, then one returned and one failed."""

    async def make() -> tuple[asyncio.Barrier, asyncio.Event]:
        return asyncio.Barrier(3), asyncio.Event()

    async def view(fails: bool) -> None:
        await barrier.wait()
        await event.wait()
        if fails:
            raise LookupError

    async def meet() -> None:
        await barrier.wait()

    async def let_go() -> None:
        event.set()

    barrier, event = loop.run(make())
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(lambda fails: loop.run(view(fails)), fails) for fails in (False, True)]
        loop.run(meet())
        during = loop.snapshot()
        loop.run(let_go())
        concurrent.futures.wait(calls)
    after = loop.snapshot()
    assert (during.alive, during.waiting, during.tasks, during.failed) == (True, 2, 2, 0)
    assert (after.waiting, after.failed, after.done - during.done) == (0, 1, 2)
