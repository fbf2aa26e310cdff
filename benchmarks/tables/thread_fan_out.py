"""Measure what it takes to spread tasks that do nothing over threads, inside a request.

All pools are warm and of the same size. Three of the ways carry the request into the tasks, which
is checked before anything is timed; the others are faster in part because they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.benchmark import Benchmark, Call, Comparison, Subject
from benchmarks.tasks import echo
from benchmarks.wsgi_call import requests_to

WORKERS = 8
PATH = "/carried"

Spread = Callable[[Callable[[int], object], int], list[object]]
"""Runs a function with each of so many numbers, and gives the results in order."""


@contextmanager
def fan_out(spread: Spread, tasks: int, *, carries_request: bool) -> Iterator[Call]:
    """Requests whose view spreads tasks.

    :param carries_request: Whether a task may use ``flask.request``.
    """
    from flask import Flask

    app = Flask("fan_out")
    yield _calls(app, spread, tasks, carries_request=carries_request)


def _calls(app: object, spread: Spread, tasks: int, *, carries_request: bool) -> Call:
    from flask import Flask, request

    assert isinstance(app, Flask)

    def path(number: int) -> str:
        return request.path

    app.add_url_rule("/", "numbers", lambda: _text(spread(echo, tasks)))
    app.add_url_rule(PATH, "paths", lambda: _text(spread(path, tasks)))
    if carries_request:
        requests_to(app, PATH, body=_text([PATH] * tasks).encode())()
    return requests_to(app, body=_text(list(range(tasks))).encode())


def _text(results: list[object] | list[str] | list[int]) -> str:
    return " ".join(map(str, results))


@contextmanager
def nothing_spread(tasks: int) -> Iterator[Call]:
    """The tasks one after the other, in the view."""
    with fan_out(lambda fn, n: [fn(i) for i in range(n)], tasks, carries_request=True) as call:
        yield call


@contextmanager
def tutorial(tasks: int) -> Iterator[Call]:
    """A new thread for each task, joined. Results are lost in the tutorial; here they are kept."""
    import threading

    def spread(fn: Callable[[int], object], count: int) -> list[object]:
        results: list[object] = [None] * count

        def run(number: int) -> None:
            results[number] = fn(number)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    with fan_out(spread, tasks, carries_request=False) as call:
        yield call


@contextmanager
def new_pool(tasks: int) -> Iterator[Call]:
    """A new pool of the standard library in each request."""
    from concurrent.futures import ThreadPoolExecutor

    def spread(fn: Callable[[int], object], count: int) -> list[object]:
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(fn, range(count)))

    with fan_out(spread, tasks, carries_request=False) as call:
        yield call


@contextmanager
def shared_pool(tasks: int) -> Iterator[Call]:
    """One pool of the standard library for all requests; tasks know nothing of theirs."""
    from concurrent.futures import ThreadPoolExecutor

    with (
        ThreadPoolExecutor(WORKERS) as pool,
        fan_out(
            lambda fn, count: list(pool.map(fn, range(count))), tasks, carries_request=False
        ) as call,
    ):
        yield call


@contextmanager
def shared_pool_with_request(tasks: int) -> Iterator[Call]:
    """The same, each task wrapped in Flask's ``copy_current_request_context``."""
    from concurrent.futures import ThreadPoolExecutor

    from flask import copy_current_request_context

    with ThreadPoolExecutor(WORKERS) as pool:

        def spread(fn: Callable[[int], object], count: int) -> list[object]:
            futures = [pool.submit(copy_current_request_context(fn), n) for n in range(count)]
            return [future.result() for future in futures]

        with fan_out(spread, tasks, carries_request=True) as call:
            yield call


@contextmanager
def flask_executor(tasks: int) -> Iterator[Call]:
    """``submit`` of Flask-Executor; its ``map`` raises as soon as two tasks overlap."""
    from flask import Flask
    from flask_executor import Executor  # type: ignore[import-untyped]

    app = Flask("flask_executor")
    app.config["EXECUTOR_MAX_WORKERS"] = WORKERS
    executor = Executor(app)

    def spread(fn: Callable[[int], object], count: int) -> list[object]:
        futures = [executor.submit(fn, number) for number in range(count)]
        return [future.result() for future in futures]

    yield _calls(app, spread, tasks, carries_request=True)
    executor.shutdown()


@contextmanager
def ours(tasks: int) -> Iterator[Call]:
    """``concurrency.threads.map``."""
    from flask import Flask

    from flask_concurrency import Concurrency

    app = Flask("ours")
    app.config["CONCURRENCY_THREADS"] = {"max_workers": WORKERS}
    concurrency = Concurrency(app, store="memory://")

    def spread(fn: Callable[[int], object], count: int) -> list[object]:
        return list(concurrency.threads.map(fn, range(count)))

    yield _calls(app, spread, tasks, carries_request=True)


def _benchmark(tasks: int) -> Benchmark:
    none, bare, peer = "no threads", "shared pool, no request", "Flask-Executor, submit"
    return Benchmark(
        name=f"threads-{tasks}",
        title=f"a request that spreads {tasks} tasks over threads",
        base=none,
        subjects=(
            Subject(none, partial(nothing_spread, tasks)),
            Subject("ours, map", partial(ours, tasks)),
            Subject(bare, partial(shared_pool, tasks)),
            Subject("shared pool, request copied", partial(shared_pool_with_request, tasks)),
            Subject(peer, partial(flask_executor, tasks)),
            Subject("new pool each request", partial(new_pool, tasks)),
            Subject("tutorial: new threads", partial(tutorial, tasks)),
        ),
        comparisons=(
            Comparison("beside the bare pool", "ours, map", bare, at_most=1.3),
            Comparison(
                "beside copying the request per task", "ours, map", "shared pool, request copied"
            ),
            Comparison("beside Flask-Executor", "ours, map", peer),
            Comparison("beside the tutorial's way", "ours, map", "tutorial: new threads"),
        ),
    )


BENCHMARKS = (_benchmark(5), _benchmark(8))
