"""What an app counts beside its requests: tasks, waits, outages, streams."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from flask import Flask, Response

from flask_concurrency import Concurrency, InFlight, QueueFull, WorkerDied
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.telemetry.metrics import (
    CONNECTIONS,
    LIMIT_DECISIONS,
    LIMIT_WAITS,
    STORE_OUTAGES,
    TASK_RUNS,
    TASK_WAITS,
    TASKS,
    WORKERS_LOST,
)
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import StoreUnavailable


@pytest.fixture
def app() -> Iterator[Flask]:
    """An app that counts without showing it."""
    app = Flask("shop")
    app.testing = True
    app.config["CONCURRENCY_COUNTS"] = True
    app.config["CONCURRENCY_THREADS"] = {"max_workers": 1, "max_queue": 1}
    Concurrency(app)
    yield app
    executors = state_of(app).executors
    executors.threads.shutdown()
    executors.processes.shutdown()


def state_of(app: Flask) -> AppState:
    """What the extension keeps for an app."""
    state: AppState = app.extensions["concurrency"]
    return state


def counted(app: Flask, *name: str) -> tuple[int, ...]:
    """The numbers of a name."""
    return state_of(app).counters.get().totals().get(name, (0,))


def fail() -> None:
    """What a task does that fails."""
    raise ValueError("no")


def die() -> None:
    """What a worker does that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_thread_task_counts_how_it_ended_and_how_long_it_took(app: Flask) -> None:
    """By the name of its executor; a function's name would be a label too many."""
    threads = state_of(app).executors.threads
    threads.submit(int).result()
    threads.submit(fail).exception()
    threads.shutdown()
    assert counted(app, TASKS.name, "threads", "done") == (1,)
    assert counted(app, TASKS.name, "threads", "failed") == (1,)
    for metric in (TASK_WAITS, TASK_RUNS):
        numbers = counted(app, metric.name, "threads")
        assert len(numbers) == metric.width
        assert sum(numbers[:-1]) == 2


def test_tasks_that_never_ran_are_counted_without_times(app: Flask) -> None:
    """One that was cancelled, and one that found the queue full."""
    threads = state_of(app).executors.threads
    go, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go.wait()

    held = threads.submit(hold)
    begun.wait()
    waiting = threads.submit(int)
    with pytest.raises(QueueFull):
        threads.submit(int)
    waiting.cancel()
    go.set()
    held.result()
    threads.shutdown()
    assert counted(app, TASKS.name, "threads", "refused") == (1,)
    assert counted(app, TASKS.name, "threads", "cancelled") == (1,)
    assert sum(counted(app, TASK_RUNS.name, "threads")[:-1]) == 1


@pytest.mark.slow
def test_a_process_task_counts_its_end_and_that_of_its_worker(app: Flask) -> None:
    """A worker that dies takes one task along, and both are counted."""
    processes = state_of(app).executors.processes
    assert processes.submit(int).result() == 0
    assert isinstance(processes.submit(die).exception(), WorkerDied)
    assert counted(app, TASKS.name, "processes", "done") == (1,)
    assert counted(app, TASKS.name, "processes", "failed") == (1,)
    assert counted(app, WORKERS_LOST.name, "processes") == (1,)
    assert sum(counted(app, TASK_WAITS.name, "processes")[:-1]) == 2


def test_a_call_of_the_loop_is_counted(app: Flask) -> None:
    """So are the async views that run there."""
    loop = state_of(app).executors.loop

    async def view() -> str:
        return "done"

    loop.run(view())
    loop.shutdown()
    assert counted(app, TASKS.name, "loop", "done") == (1,)


def test_an_app_that_counts_nothing_counts_no_task() -> None:
    """Its tasks pay one look."""
    app = Flask("shop")
    app.testing = True
    concurrency = Concurrency(app)
    with app.app_context():
        concurrency.threads.submit(int).result()
        concurrency.threads.shutdown()
    assert state_of(app).counters.get().totals() == {}


def test_tasks_are_counted_from_then_on_that_an_app_counts() -> None:
    """Though its executors are older, as where a page that shows counts is added late."""
    app = Flask("shop")
    app.testing = True
    Concurrency(app)
    with state_of(app).executors.threads as threads:
        threads.submit(int).result()
        state_of(app).counters.count_requests()
        threads.submit(int).result()
    assert counted(app, TASKS.name, "threads", "done") == (1,)


def test_an_executor_without_an_app_tells_no_one() -> None:
    """And runs as ever."""
    executor = ThreadExecutor(1)
    assert executor.submit(int).result() == 0
    executor.shutdown()


def test_a_wait_for_a_limit_is_counted(app: Flask) -> None:
    """How long, whether the request was let in in the end or gave up."""
    concurrency: Concurrency = state_of(app).owner  # type: ignore[assignment]
    inside, go = threading.Event(), threading.Event()

    @app.get("/report")
    @concurrency.limit(InFlight(1, max_queue=1, max_wait=0.05))
    def report() -> str:
        inside.set()
        go.wait()
        return "done"

    first = threading.Thread(target=lambda: app.test_client().get("/report"))
    first.start()
    inside.wait()
    assert app.test_client().get("/report").status_code == 503
    go.set()
    first.join()
    name = "route:1 in flight"
    assert counted(app, LIMIT_DECISIONS.name, name, "/report", "gave_up") == (1,)
    assert sum(counted(app, LIMIT_WAITS.name, name)[:-1]) == 1
    assert counted(app, LIMIT_WAITS.name, name)[-1] >= 50_000


def test_an_outage_is_counted_once(app: Flask) -> None:
    """Not once for each request that meets it."""
    store = FallbackStore(MemoryStore(), lambda: None, clock=ManualClock())
    store.on_outage = state_of(app).counters.store_lost
    for _ in range(3):
        store._trip(StoreUnavailable("gone"))
    store.close()
    assert counted(app, STORE_OUTAGES.name) == (1,)


def test_event_streams_are_counted_when_they_open_and_close(app: Flask) -> None:
    """Their difference is the number of those that are open."""
    concurrency: Concurrency = state_of(app).owner  # type: ignore[assignment]

    @app.get("/feed")
    def feed() -> Response:
        return concurrency.event_stream(iter(["a"]), heartbeat=None)

    response = app.test_client().get("/feed", buffered=False)
    assert counted(app, CONNECTIONS.name, "event_stream", "opened") == (1,)
    assert counted(app, CONNECTIONS.name, "event_stream", "closed") == (0,)
    response.close()
    assert counted(app, CONNECTIONS.name, "event_stream", "closed") == (1,)
