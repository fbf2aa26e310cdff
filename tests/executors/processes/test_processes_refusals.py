"""What a process executor does not take, and how it says so."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

import process_tasks as tasks
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.vocabulary.errors import (
    ConfigurationError,
    ExecutorShutdown,
    TaskNotPicklable,
)


def _enclosing() -> Callable[[], int]:
    def enclosed() -> int:
        return 1

    return enclosed


class _Counter:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def count(self) -> None: ...


def _replaced() -> None: ...


_original, _replaced = _replaced, None  # type: ignore[assignment] # as a decorator might


@pytest.mark.parametrize(
    ("fn", "arguments", "told"),
    [
        (lambda: 1, (), r"<lambda>'.*with def at the top level"),
        (_enclosing(), (), r"enclosed'.*top level.*as arguments"),
        (functools.partial(_enclosing()), (), r"enclosed'.*top level"),
        (threading.Lock().acquire, (), r"acquire'.*takes its object along \(lock\).*plain data"),
        (_Counter().count, (), r"_Counter.count'.*takes its object along \(_Counter\)"),
        (functools.partial(print, _Counter()), (), r"print'.*functools.partial has bound"),
        (_original, (), r"_replaced'.*imports it by its name.*functools.wraps"),
        (abs, (threading.Lock(),), r"Argument 1 of 'builtins.abs' \(lock\).*Pass plain data"),
        (max, (1, 2, open), None),
        (max, (1, 2, threading.Event()), r"Argument 3 of 'builtins.max' \(Event\)"),
    ],
)
def test_what_cannot_be_pickled_is_refused_where_it_is_submitted(
    pool: ProcessExecutor, fn: Callable[..., Any], arguments: tuple[Any, ...], told: str | None
) -> None:
    """The message names the function or the argument, and what to do instead."""
    if told is None:
        assert isinstance(pool.submit(fn, *arguments).exception(10), TypeError)
    else:
        with pytest.raises(TaskNotPicklable, match=told):
            pool.submit(fn, *arguments)
    assert pool.submit(abs, -1).result(10) == 1


def test_a_keyword_argument_is_refused_by_its_name(pool: ProcessExecutor) -> None:
    """As a positional one is by its position."""
    with pytest.raises(TaskNotPicklable, match=r"Argument 'third' of 'process_tasks.add'"):
        pool.submit(tasks.add, 1, third=threading.Lock())


@pytest.mark.parametrize("chunksize", [1, 2])
def test_a_refused_item_ends_a_map_where_it_is_written(
    pool: ProcessExecutor, chunksize: int
) -> None:
    """The message is the same however the items are grouped."""
    items: list[Any] = [1, 2, threading.Lock(), 4]
    with pytest.raises(TaskNotPicklable, match=r"Argument 1 of 'process_tasks.double' \(lock\)"):
        pool.map(tasks.double, items, chunksize=chunksize)
    assert list(pool.map(tasks.double, [1, 2])) == [2, 4]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_workers": 0}, r"max_workers=0 is no whole number of 1 or more"),
    ({"max_workers": -1}, r"max_workers=-1 .*None for the default"),
    ({"max_workers": True}, r"max_workers=True"),
    ({"max_workers": "4"}, r"max_workers='4'"),
    ({"max_queue": -1}, r"max_queue=-1 is no whole number of 0 or more"),
    ({"max_queue": 1.5}, r"max_queue=1.5"),
    ({"max_tasks_per_worker": 0}, r"max_tasks_per_worker=0.*None to replace no worker"),
    ({"when_full": "panic"}, r"when_full='panic' is unknown.*'refuse'.*'wait'"),
    ({"idle_timeout": 0}, r"idle_timeout=0 is no number of seconds, above 0.*None to keep"),
    ({"idle_timeout": -1.0}, r"idle_timeout=-1.0"),
    ({"idle_timeout": "long"}, r"idle_timeout='long'"),
    ({"drain_timeout": -1}, r"drain_timeout=-1 .*None to wait for all"),
    ({"max_memory": "much"}, r"max_memory='much' .*'512MiB'"),
    ({"max_memory": 0}, r"max_memory=0"),
    ({"task_context": "app"}, r"task_context='app' cannot be called"),
    ({"preload": "app"}, r"preload='app' is no sequence.*\['app'\]"),
    ({"preload": [1]}, r"preload=\[1\]"),
    ({"preload": None}, r"preload=None is no sequence"),
    ({"initializer": "f"}, r"initializer='f' cannot be called"),
    ({"initargs": "word"}, r"initargs='word' is no sequence.*\('word',\)"),
    ({"initargs": 1}, r"initargs=1"),
    ({"start_method": "fork"}, r"start_method='fork' is not offered.*forkserver"),
    ({"start_method": "thread"}, r"start_method='thread' is unknown"),
    ({"name": ""}, r"name='' is no name"),
]


@pytest.mark.parametrize(("options", "told"), WRONG)
def test_a_wrong_option_is_refused_where_it_is_written(options: dict[str, Any], told: str) -> None:
    """The message names the option, its value and the remedy."""
    with pytest.raises(ConfigurationError, match=told):
        ProcessExecutor(**options)


@pytest.mark.parametrize("option", ["chunksize", "buffersize"])
def test_a_wrong_size_of_a_map_is_refused(pool: ProcessExecutor, option: str) -> None:
    """Before any item is taken."""
    sizes: dict[str, Any] = {option: 0}
    with pytest.raises(ConfigurationError, match=f"{option}=0"):
        pool.map(abs, iter([1]), **sizes)


def test_chosen_chunks_have_no_buffer(pool: ProcessExecutor) -> None:
    """They take items as results are taken in any case; other words are no size."""
    with pytest.raises(ConfigurationError, match="leave buffersize=5 out"):
        pool.map(abs, [1], chunksize="auto", buffersize=5)
    with pytest.raises(TypeError, match="chunksize='many'"):
        pool.map(abs, [1], chunksize="many")  # type: ignore[arg-type]


def test_nothing_is_taken_after_a_shutdown() -> None:
    """Nor does an executor that was never used start anything to say so."""
    executor = ProcessExecutor(1, name="closed")
    executor.shutdown()
    executor.shutdown(cancel_futures=True)
    with pytest.raises(ExecutorShutdown, match=r"'closed' was shut down.*make a new executor"):
        executor.submit(abs, -1)
    with pytest.raises(ExecutorShutdown):
        executor.map(abs, [1])
    assert executor.snapshot().workers == 0


def test_construction_starts_nothing() -> None:
    """Executors are made when an application is imported, perhaps before a server forks."""
    before = set(threading.enumerate())
    executor = ProcessExecutor()
    assert executor.max_workers >= 1
    assert executor.name == "processes"
    assert "processes" in repr(executor)
    assert executor.snapshot().workers == 0
    assert set(threading.enumerate()) <= before


def test_arguments_that_cannot_be_pickled_are_named_beside_large_ones(
    pool: ProcessExecutor,
) -> None:
    """A view, which pickle alone would refuse, is not blamed."""
    with pytest.raises(TaskNotPicklable, match=r"Argument 2 of 'process_tasks.add' \(function\)"):
        pool.submit(tasks.add, memoryview(bytes(2**20)), lambda: None)


@pytest.mark.parametrize("value", [-1, 1.5, True, "1 GB"])
def test_the_bound_is_a_number_of_bytes(value: object) -> None:
    """Anything else is refused where it is written."""
    with pytest.raises(ConfigurationError, match=r"max_shared_memory=.*0 or more"):
        ProcessExecutor(1, max_shared_memory=value)  # type: ignore[arg-type]
