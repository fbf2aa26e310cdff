"""The times of the last tasks, summed up when a snapshot is taken."""

from __future__ import annotations

import threading
from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.runtime.durations import Durations, DurationsSnapshot

SECONDS = st.floats(0.0, 1e6)


def test_without_a_task_all_times_are_zero() -> None:
    """A status page can show them as they are."""
    assert Durations().summary() == DurationsSnapshot(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_percentiles_are_those_of_the_tasks() -> None:
    """Of one hundred tasks the 50th, the 90th and the 99th, in whatever order they ended."""
    durations = Durations()
    for n in reversed(range(1, 101)):
        durations.record((n / 1_000, float(n)))
    assert durations.summary() == DurationsSnapshot(0.050, 0.090, 0.099, 50.0, 90.0, 99.0)


def test_only_the_last_tasks_count() -> None:
    """An hour ago is no news."""
    durations = Durations(lately=10)
    for n in range(1, 31):
        durations.record((float(n), 0.0))
    assert durations.summary().wait_p50 == 25.0


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=50))
def test_every_percentile_is_the_time_of_some_task(times: list[tuple[float, float]]) -> None:
    """None is made up between two, and a higher one is never less."""
    durations = Durations()
    for wait, run in times:
        durations.record((wait, run))
    waits, runs = (list(column) for column in zip(*times, strict=True))
    seen = list(astuple(durations.summary()))
    assert set(seen[:3]) <= set(waits)
    assert set(seen[3:]) <= set(runs)
    assert seen[:3] == sorted(seen[:3])
    assert seen[3:] == sorted(seen[3:])
    assert seen[2] == max(waits)  # of fewer than a hundred, the highest is the 99th percentile


def test_threads_may_record_while_somebody_looks() -> None:
    """Without a lock, both times of an entry are of the same task."""
    durations, over = Durations(lately=50), threading.Event()

    def record() -> None:
        while not over.is_set():
            durations.record((1.0, 2.0))

    recorders = [threading.Thread(target=record) for _ in range(2)]
    for each in recorders:
        each.start()
    durations.record((1.0, 2.0))
    seen = {durations.summary() for _ in range(200)}
    over.set()
    for each in recorders:
        each.join()
    assert seen == {DurationsSnapshot(1.0, 1.0, 1.0, 2.0, 2.0, 2.0)}
