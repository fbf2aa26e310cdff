"""Who works on what, without any process."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from flask_concurrency.executors.processes.options import ProcessOptions, check_options
from flask_concurrency.executors.processes.records import Batch, ProcessFuture, Task, WorkerRecord
from flask_concurrency.executors.processes.schedule import Roster
from flask_concurrency.executors.processes.wire import Channel
from flask_concurrency.vocabulary.errors import QueueFull


def options(**changed: Any) -> ProcessOptions:
    given: dict[str, Any] = {
        "max_workers": 2,
        "max_queue": 3,
        "when_full": "refuse",
        "preload": (),
        "initializer": None,
        "initargs": (),
        "max_tasks_per_worker": None,
        "idle_timeout": None,
        "drain_timeout": None,
        "max_memory": None,
        "around": None,
        "max_shared_memory": None,
        "start_method": None,
        "name": "tested",
    }
    return check_options(**{**given, **changed})


def admit(roster: Roster, batch: Batch | None = None) -> Task:
    return roster.admit(abs, b"", ProcessFuture(), batch, now=0.0)


def hire(roster: Roster, *, ready: bool = True) -> WorkerRecord:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = roster.hire(Channel(ours))
    if ready:
        worker.ready = True
        roster.free(worker, 0.0)
    return worker


def test_tasks_go_to_workers_in_their_order() -> None:
    """The worker that worked last comes first: its caches are warm."""
    roster = Roster(options())
    first, second = hire(roster), hire(roster)
    tasks = [admit(roster) for _ in range(3)]
    assert roster.match() == [second, first]
    assert (second.task, first.task) == (tasks[0], tasks[1])
    assert roster.match() == []
    assert roster.free(first, 0.0)
    assert first.task is tasks[2]
    assert not roster.free(first, 0.0)
    assert roster.idle == [first]
    assert roster.snapshot().busy == 1


def test_the_bound_counts_what_waits_beyond_one_for_each_worker() -> None:
    """Workers that have not started yet count as those that have."""
    roster = Roster(options(max_workers=2, max_queue=3))
    for _ in range(5):
        admit(roster)
    with pytest.raises(QueueFull, match="3 of 3"):
        admit(roster)
    worker = hire(roster)
    with pytest.raises(QueueFull):
        admit(roster)
    roster.free(worker, 0.0)
    admit(roster)
    assert roster.snapshot().queued == 4


@pytest.mark.parametrize("max_queue", [0, 1, 3, None])
def test_a_batch_takes_one_place_for_each_worker(max_queue: int | None) -> None:
    """Its next task takes the place of one that has ended, in order."""
    roster = Roster(options(max_queue=max_queue))
    workers = [hire(roster), hire(roster)]
    batch = Batch()
    tasks = [admit(roster, batch) for _ in range(20)]
    roster.match()
    done: list[Task | None] = []
    while any(worker.task for worker in workers):
        assert roster.busy + len(roster.queue) <= 2
        for worker in reversed(workers):  # as they were matched
            if worker.task is not None:
                done.append(worker.task)
                roster.free(worker, 0.0)
    assert done == tasks
    assert batch.placed == 0


def test_a_batch_is_refused_only_if_it_has_no_place_at_all() -> None:
    """Otherwise its own tasks make room for it."""
    roster = Roster(options(max_workers=2, max_queue=0))
    admit(roster)
    batch = Batch()
    mine = [admit(roster, batch) for _ in range(3)]
    with pytest.raises(QueueFull):
        admit(roster, Batch())
    workers = [hire(roster), hire(roster)]
    assert {worker.task for worker in workers} >= {mine[0]}
    for task in mine:
        (holder,) = [worker for worker in workers if worker.task is task]
        roster.free(holder, 0.0)
    assert roster.busy == 1


def test_withdrawn_tasks_make_room_for_those_behind_them() -> None:
    """From the queue and from behind it."""
    roster = Roster(options(max_workers=2, max_queue=1))
    batch = Batch()
    tasks = [admit(roster, batch) for _ in range(5)]
    assert roster.waiting() == tasks
    assert roster.withdraw(tasks[0])
    assert roster.withdraw(tasks[3])
    assert not roster.withdraw(tasks[3])
    assert list(roster.queue.values()) == tasks[1:3]
    assert roster.waiting() == [tasks[1], tasks[2], tasks[4]]
    for task in roster.waiting():
        assert roster.withdraw(task)
    assert roster.snapshot().queued == 0


def test_an_unread_task_comes_back_before_all_others() -> None:
    """Its worker died before it began."""
    roster = Roster(options())
    worker = hire(roster)
    first, second = admit(roster), admit(roster)
    roster.match()
    assert worker.task is first
    roster.unassign(worker)
    roster.give_back(first)
    assert roster.waiting() == [first, second]
    assert first.deliveries == 1


def test_workers_are_wanted_for_tasks_that_none_is_starting_for() -> None:
    """And never more than there may be."""
    roster = Roster(options(max_workers=3, max_queue=None))
    assert roster.vacancies() == 0
    admit(roster)
    assert roster.vacancies() == 1
    hire(roster, ready=False)
    assert roster.vacancies() == 0
    for _ in range(9):
        admit(roster)
    assert roster.vacancies() == 2


def test_a_worker_is_worn_after_its_share() -> None:
    """Not before, and never if it has none."""
    for limit, replies, worn in [(None, 10**6, False), (3, 2, False), (3, 3, True)]:
        roster = Roster(options(max_tasks_per_worker=limit))
        worker = hire(roster)
        worker.replies = replies
        assert roster.is_worn(worker) is worn
