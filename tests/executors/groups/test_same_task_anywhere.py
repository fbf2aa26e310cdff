"""One task, moved from threads to processes to a cluster by changing one name."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from flask import Flask

from flask_concurrency import Concurrency, DeadlineExceeded
from flask_concurrency.executors.foreign_executor import ForeignExecutor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A client of Dask's scheduler, with a worker process, on loopback."""
    dask: Any = import_module("distributed")
    one_worker = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with dask.LocalCluster(host="127.0.0.1", **one_worker) as made, dask.Client(made) as client:
        yield client


@pytest.fixture
def concurrency(cluster: Any) -> Iterator[Concurrency]:
    app = Flask(__name__)
    concurrency = Concurrency(app)
    concurrency.add_executor("dask", cluster.get_executor())
    yield concurrency
    concurrency.processes.shutdown()


@pytest.mark.parametrize("name", ["threads", "processes", "dask"])
def test_the_same_task_runs_anywhere(concurrency: Concurrency, name: str) -> None:
    """By ``submit``, by ``map``, and in a group."""
    executor = concurrency.executor(name)

    assert executor.submit(math.comb, 40, 20).result() == math.comb(40, 20)
    assert list(executor.map(math.factorial, range(10))) == [*map(math.factorial, range(10))]
    with concurrency.task_group(timeout=60) as group:
        for number in range(10):
            group.executor(name).submit(math.factorial, number)
    assert group.results() == [*map(math.factorial, range(10))]


@pytest.mark.parametrize("name", ["threads", "processes", "dask"])
def test_the_first_error_is_the_tasks_own_anywhere(concurrency: Concurrency, name: str) -> None:
    """And names its siblings."""
    group = concurrency.task_group()
    with pytest.raises(ValueError, match="negative") as caught, group:
        group.executor(name).submit(math.factorial, -1)

    assert caught.value.__notes__[0].startswith("Raised by task #1 factorial")


def test_the_configuration_moves_a_task(cluster: Any) -> None:
    """The code says what the task is for, the configuration where it runs."""
    app = Flask(__name__)
    app.config["CONCURRENCY_EXECUTORS"] = {"reports": "dask", "dask": cluster.get_executor}
    concurrency = Concurrency(app)

    executor = concurrency.executor("reports")

    assert isinstance(executor, ForeignExecutor)
    assert executor.submit(abs, -1).result() == 1
    assert executor.snapshot().kind == "ClientExecutor"


def test_what_a_cluster_does_not_end_in_time_is_given_up(concurrency: Concurrency) -> None:
    """The block ends, while the task over there may run on."""
    group = concurrency.task_group(timeout=0.2, policy="partial")
    with group:
        group.executor("dask").submit(time.sleep, 3)
        ready = group.executor("threads").submit(abs, -1)

    assert group.results() == [ready.result()] == [1]
    assert isinstance(group.missing[0].exception(), DeadlineExceeded)
