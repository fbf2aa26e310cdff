"""Who works on what, without any process: events, and the orders that follow from them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flask_concurrency.executors.processes import schedule as schedule_module
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.records import Batch, Task, Worker
from flask_concurrency.executors.processes.schedule import MAX_DELIVERIES, Orders, Schedule
from flask_concurrency.executors.processes.wire import READY, RECYCLE, RESULT
from flask_concurrency.runtime.deadline import Deadline
from flask_concurrency.vocabulary.errors import DeadlineExceeded, QueueFull, WorkerDied

TURN = object()


class Undriven:
    """Stands for the pool of futures: the tests report their ends to the schedule themselves."""

    def finish(self, task: Task) -> None: ...

    def interrupted(self) -> None: ...


DRIVER: Any = Undriven()


def options(**changed: Any) -> ProcessOptions:
    given: dict[str, Any] = {
        "max_workers": 2,
        "max_queue": 3,
        "when_full": "refuse",
        "drain_timeout": None,
        "name": "tested",
    }
    return ProcessOptions(**{**given, **changed})


def too_late(task: Task) -> DeadlineExceeded:
    return DeadlineExceeded(f"task {task.number}")


class Pool:
    """Carries orders out as a pool does, without a process behind it."""

    def __init__(self, **changed: Any) -> None:
        self.schedule = Schedule(options(**changed), too_late)
        self.now = 0.0
        self.finished: list[Task] = []
        self.killed: list[Worker] = []

    def submit(self, count: int = 1, batch: Batch | None = None, **options: Any) -> list[Task]:
        tasks = [Task(DRIVER, abs, b"", batch) for _ in range(count)]
        for task in tasks:
            task.deadline = options.get("deadline")
        self.do(self.schedule.submit(tasks, TURN, self.now, waits=options.get("waits", False)))
        return tasks

    def do(self, orders: Orders) -> None:
        for worker in (*orders.send, *orders.start):
            assert worker.reader is TURN
            worker.launched = True
            worker.reader = None  # released: registered, as a worker that owes a message is
        self.killed += orders.kill
        for worker in orders.close:
            worker.reader = None
            self.schedule.leaving.pop(worker.number, None)
        for task in orders.finish:
            if task.number in self.schedule.tasks:
                if task not in self.finished:
                    self.finished.append(task)
                if not task.future.done():
                    assert task.ending is not None
                    task.future.set_result(task.ending)
                self.do(
                    self.schedule.finished(task, TURN, self.now, cancelled=task.future.cancelled())
                )

    def answer(self, worker: Worker, kind: int = RESULT) -> Orders:
        number = 0 if worker.task is None else worker.task.number
        worker.reader = TURN
        orders = self.schedule.answered(worker, kind, number, b"", TURN, self.now)
        if worker.reader is TURN and worker not in orders.send:
            worker.reader = None
        return orders

    def ready(self) -> list[Worker]:
        """Have every worker that is starting come up."""
        for worker in tuple(self.schedule.workers.values()):
            if not worker.ready:
                self.do(self.answer(worker, READY))
        return list(self.schedule.workers.values())


# One row for each event: what was before, the event, and what is ordered then.


def test_a_task_goes_to_the_worker_that_worked_last() -> None:
    """Its caches are warm; the next one gets the other, and the third waits."""
    pool = Pool()
    pool.submit(2)
    first, second = pool.ready()
    for worker in (first, second):
        pool.do(pool.answer(worker))
    assert pool.schedule.idle == [first, second]
    tasks = pool.submit() + pool.submit() + pool.submit()
    assert [second.task, first.task] == tasks[:2]
    assert list(pool.schedule.queue.values()) == tasks[2:]
    orders = pool.answer(first)
    assert (list(orders.send), list(orders.finish)) == ([first], [tasks[1]])
    assert first.task is tasks[2]


def test_the_bound_counts_what_waits_beyond_one_for_each_worker() -> None:
    """Workers that have not started yet count as those that have."""
    pool = Pool(max_workers=2, max_queue=3)
    for _ in range(5):
        pool.submit()
    with pytest.raises(QueueFull, match="3 of 3"):
        pool.submit()
    assert pool.schedule.counts["refused"] == 1
    pool.ready()
    with pytest.raises(QueueFull):
        pool.submit()
    pool.do(pool.answer(next(iter(pool.schedule.workers.values()))))
    pool.submit()
    assert pool.schedule.snapshot().queued == 3


@pytest.mark.parametrize("max_queue", [0, 1, 3, None])
def test_a_batch_takes_one_place_for_each_worker(max_queue: int | None) -> None:
    """Its next task takes the slot of one that has ended, in order."""
    pool, batch = Pool(max_queue=max_queue), Batch()
    tasks = pool.submit(20, batch)
    workers = pool.ready()
    while any(worker.task for worker in workers):
        assert batch.placed <= 2
        for worker in workers:
            if worker.task is not None:
                pool.do(pool.answer(worker))
    assert pool.finished == tasks
    assert batch.placed == 0


def test_a_batch_is_refused_only_if_it_has_no_place_at_all() -> None:
    """Otherwise its own tasks make room for it."""
    pool, batch = Pool(max_workers=2, max_queue=0), Batch()
    pool.submit()
    pool.submit(3, batch)
    with pytest.raises(QueueFull):
        pool.submit(1, Batch())
    for worker in pool.ready() * 3:
        if worker.task is not None:
            pool.do(pool.answer(worker))
    assert len(pool.finished) == 4


def test_a_task_in_line_is_let_in_when_there_is_room() -> None:
    """The first one in line first, and with it the rest of its batch."""
    pool = Pool(max_workers=1, max_queue=0)
    (running,) = pool.submit()
    (worker,) = pool.ready()
    first, second = pool.submit(waits=True)[0], pool.submit(2, Batch(), waits=True)
    assert first.slot is not None
    assert not first.slot.done()
    assert pool.schedule.snapshot().waiting == 2
    with pytest.raises(QueueFull):
        pool.submit()
    assert list(pool.answer(worker).finish) == [running]
    assert worker.task is first
    assert first.slot.done()
    pool.do(pool.answer(worker))
    pool.do(pool.answer(worker))
    assert worker.task is second[1]


def test_withdrawn_tasks_make_room_for_those_behind_them() -> None:
    """From the queue, from behind it, and from the line."""
    pool = Pool(max_workers=2, max_queue=1)
    tasks = pool.submit(5, Batch())
    (lined,) = pool.submit()
    assert pool.schedule.withdraw(tasks[0])
    assert pool.schedule.withdraw(tasks[3])
    assert not pool.schedule.withdraw(tasks[3])
    assert pool.schedule.waiting() == [tasks[1], lined, tasks[2], tasks[4]]
    for task in pool.schedule.waiting():
        assert pool.schedule.withdraw(task)
    assert pool.schedule.snapshot().queued == 0


def lost(pool: Pool, worker: Worker, *, unread: bool = False) -> Orders:
    worker.reader = TURN
    return pool.schedule.lost(worker, WorkerDied("x", exitcode=1), TURN, pool.now, unread=unread)


def test_a_lost_worker_takes_its_task_along_and_is_replaced() -> None:
    """One that never read its task gives it back, before all others, but not for ever."""
    pool = Pool(max_workers=1)
    read, unread, behind = (pool.submit()[0] for _ in range(3))
    (worker,) = pool.ready()
    orders = lost(pool, worker)
    assert (list(orders.finish), list(orders.close), len(orders.start)) == ([read], [worker], 1)
    pool.do(orders)
    for delivery in range(1, MAX_DELIVERIES + 1):
        (worker,) = pool.ready()
        assert (worker.task, unread.deliveries) == (unread, delivery)
        orders = lost(pool, worker, unread=True)
        if delivery < MAX_DELIVERIES:
            assert list(orders.finish) == []
            assert pool.schedule.waiting() == [unread, behind]
        else:
            assert list(orders.finish) == [unread]
        pool.do(orders)


def test_a_killed_worker_gives_its_task_to_no_other_one() -> None:
    """Not even one that it had not read: its caller was told that the task fails."""
    pool = Pool(max_workers=1)
    (unread,) = pool.submit()
    (worker,) = pool.ready()
    pool.do(pool.schedule.kill(worker, "the executor was told to kill its workers"))
    orders = lost(pool, worker, unread=True)
    assert list(orders.finish) == [unread]
    assert pool.schedule.waiting() == []
    assert isinstance(unread.ending, tuple)
    assert isinstance(unread.ending[1], WorkerDied)


def test_an_idle_worker_that_never_did_anything_is_not_replaced() -> None:
    """Whatever ended it would end its successors, too."""
    pool = Pool()
    (task,) = pool.submit()
    (worker,) = pool.ready()
    pool.do(pool.schedule.expired(task, TURN, 1.0))
    (successor,) = pool.ready()
    assert pool.killed == [worker]
    assert pool.schedule.not_idle(successor)
    assert not pool.schedule.not_idle(successor)
    assert lost(pool, successor).start == ()


def test_a_worker_is_recycled_after_its_share() -> None:
    """Or when it says itself that it is recycle; its successor starts at once."""
    for limit, kind in [(2, RESULT), (None, RESULT | RECYCLE)]:
        pool = Pool(max_workers=1, max_tasks_per_worker=limit)
        pool.submit()
        (worker,) = pool.ready()
        orders = pool.answer(worker, kind)
        if limit is not None:
            assert (list(orders.close), list(orders.start)) == ([], [])
            pool.do(orders)
            pool.submit()
            orders = pool.answer(worker)
        assert list(orders.close) == [worker]
        assert len(list(orders.start)) == 1


def test_a_failed_start_fails_the_tasks_only_if_no_other_worker_is_left() -> None:
    """To try for ever would only hide the reason."""
    pool = Pool(max_workers=2)
    tasks = [pool.submit()[0], pool.submit()[0]]
    first, second = pool.schedule.workers.values()
    assert list(pool.schedule.start_failed(first, ValueError(), TURN).finish) == []
    assert list(pool.schedule.start_failed(second, ValueError(), TURN).finish) == tasks


def test_a_message_that_was_not_asked_for_costs_the_worker() -> None:
    """But one that was taken note of before is only passed over."""
    pool = Pool(max_workers=1)
    (task,) = pool.submit()
    (worker,) = pool.ready()
    assert not pool.answer(worker, READY)
    orders = pool.schedule.answered(worker, RESULT, 99, b"", TURN, 0.0)
    assert list(orders.kill) == [worker]
    pool.do(pool.answer(worker))
    assert not pool.schedule.answered(worker, RESULT, task.number, b"", TURN, 0.0)


def test_a_deadline_ends_a_task_wherever_it_is() -> None:
    """One that runs costs its worker, which is replaced; one that waits costs nothing."""
    pool = Pool(max_workers=1)
    runs, waits = pool.submit()[0], pool.submit()[0]
    (worker,) = pool.ready()
    orders = pool.schedule.expired(waits, TURN, 1.0)
    assert (list(orders.finish), list(orders.kill), list(orders.start)) == ([waits], [], [])
    orders = pool.schedule.expired(runs, TURN, 1.0)
    assert (list(orders.finish), list(orders.kill), list(orders.close)) == (
        [runs],
        [worker],
        [worker],
    )
    assert len(list(orders.start)) == 1
    assert not pool.schedule.expired(runs, TURN, 1.0)


def test_a_task_whose_deadline_passed_in_the_queue_never_starts() -> None:
    """The worker gets the next one."""
    pool = Pool(max_workers=1)
    with Deadline(5.0) as deadline:
        pool.submit()
        late, wanted = pool.submit(deadline=deadline)[0], pool.submit()[0]
    (worker,) = pool.ready()
    pool.now = 6.0
    orders = pool.answer(worker)
    assert late in orders.finish
    assert worker.task is wanted


def test_idle_workers_go_after_their_time_those_that_worked_last_stay() -> None:
    """And it is said when to look again."""
    pool = Pool(idle_timeout=10.0)
    pool.submit(2, Batch())
    first, second = pool.ready()
    pool.do(pool.answer(first))
    pool.now = 4.0
    pool.do(pool.answer(second))
    orders, look_at = pool.schedule.idle_too_long(11.0)
    assert (list(orders.close), look_at) == ([first], 14.0)


# Whatever comes in whatever order.


def check(schedule: Schedule, *, finished: list[Task]) -> None:
    """Assert what holds after every verb."""
    places: list[Task] = [*schedule.queue.values(), *schedule.line.standing]
    for batch in {task.batch for task in schedule.tasks.values() if task.batch is not None}:
        assert 0 <= batch.placed <= schedule.options.max_workers
        assert batch.placed == sum(
            task.batch is batch and (task.worker is not None or task.number in schedule.queue)
            for task in schedule.tasks.values()
        )
        places += batch.waiting.values()
    for worker in schedule.workers.values():
        if worker.task is not None:
            places.append(worker.task)
            assert worker.task.worker is worker
            assert worker.launched or worker.reader is not None
        idle = schedule.idle.count(worker)
        assert idle == int(worker.launched and worker.ready and worker.task is None)
        assert not worker.gone
    ended = [task for task in schedule.tasks.values() if task.ending is not None]
    assert len(set(map(id, places))) == len(places), "a task is in two places"
    live = [task for task in schedule.tasks.values() if task.ending is None]
    assert {task.number for task in live} == {task.number for task in places}
    assert not set(places) & set(finished)
    assert not set(places) & set(ended)
    assert len(schedule.workers) <= schedule.options.max_workers
    assert schedule.busy == sum(worker.task is not None for worker in schedule.workers.values())
    if schedule.queue:
        assert not schedule.idle, "a task waits beside an idle worker"
        assert schedule.workers, "a task waits and no worker starts"


class Struck(BaseException):
    """What a signal handler raises."""


def strike_at(line: int, verb: Callable[[], Any]) -> bool:
    """Call a verb, and have it struck at its ``line``-th line; say whether it was."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != schedule_module.__file__:
            return None
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not source.lstrip().startswith("with "):
            count += 1
            if count == line:
                raise Struck
        return trace

    sys.settrace(trace)
    try:
        verb()
    except Struck:
        return True
    finally:
        sys.settrace(None)
    return False


class Schedules(RuleBasedStateMachine):
    """Events in any order, some of them struck at any line and mended."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(max_queue=2, max_tasks_per_worker=4)
        self.accepted: list[Task] = []

    def do(self, verb: Callable[[], Orders], strike: int) -> None:
        """Carry a verb out; or let it be struck, lose its orders, and mend."""
        got: list[Orders] = []
        if strike and strike_at(strike, lambda: got.append(verb())):
            got = []
        elif strike:
            got = []  # struck after its last line, before its orders were stored
        if not strike:
            self.pool.do(verb())
            return
        mender = object()
        schedule = self.pool.schedule
        orders = schedule.mend(TURN, mender, self.pool.now)
        for worker in (*schedule.workers.values(), *schedule.leaving.values()):
            if worker.reader is mender:
                worker.reader = TURN
        self.pool.do(orders)

    strikes = st.integers(0, 25)

    @rule(strike=strikes, count=st.integers(1, 4), batch=st.booleans(), waits=st.booleans())
    def submit(self, strike: int, count: int, batch: bool, waits: bool) -> None:
        tasks = [
            Task(DRIVER, abs, b"", Batch() if batch else None) for _ in range(count if batch else 1)
        ]
        for task in tasks:
            task.batch = tasks[0].batch

        def verb() -> Orders:
            return self.pool.schedule.submit(tasks, TURN, self.pool.now, waits=waits)

        try:
            self.do(verb, strike)
        except QueueFull:
            return
        known = {*self.pool.schedule.tasks.values(), *self.pool.finished}
        self.accepted += [task for task in tasks if task in known]

    def _workers(self, ready: bool) -> list[Worker]:
        workers = self.pool.schedule.workers.values()
        return [w for w in workers if w.launched and w.ready == ready and (w.task or not ready)]

    @precondition(lambda self: self._workers(False))
    @rule(strike=strikes, data=st.data())
    def come_up(self, strike: int, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self._workers(False)))
        self.do(lambda: self.pool.answer(worker, READY), strike)

    @precondition(lambda self: self._workers(True))
    @rule(strike=strikes, data=st.data(), recycle=st.booleans())
    def answer(self, strike: int, data: st.DataObject, recycle: bool) -> None:
        worker = data.draw(st.sampled_from(self._workers(True)))
        self.do(lambda: self.pool.answer(worker, RESULT | RECYCLE if recycle else RESULT), strike)

    @precondition(lambda self: self._workers(True))
    @rule(strike=strikes, data=st.data(), unread=st.booleans())
    def die(self, strike: int, data: st.DataObject, unread: bool) -> None:
        worker = data.draw(st.sampled_from(self._workers(True)))
        before = self.pool.schedule.workers.get(worker.number)
        self.do(lambda: lost(self.pool, worker, unread=unread), strike)
        if before in self.pool.schedule.workers.values() and not worker.gone:
            self.pool.do(lost(self.pool, worker))  # its end is noticed again

    @precondition(lambda self: self.pool.schedule.tasks)
    @rule(strike=strikes, data=st.data())
    def cancel(self, strike: int, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(list(self.pool.schedule.tasks.values())))
        if task.future.cancel():
            schedule = self.pool.schedule
            self.do(lambda: schedule.finished(task, TURN, self.pool.now, cancelled=True), strike)

    @invariant()
    def holds(self) -> None:
        check(self.pool.schedule, finished=self.pool.finished)

    def teardown(self) -> None:
        """Every accepted task ends exactly once."""
        for _ in range(10 * (len(self.accepted) + 2)):
            for worker in tuple(self.pool.schedule.workers.values()):
                if not worker.ready:
                    self.pool.do(self.pool.answer(worker, READY))
                elif worker.task is not None:
                    self.pool.do(self.pool.answer(worker))
        assert not self.pool.schedule.tasks
        assert all(task.finished and task.future.done() for task in self.accepted)


TestSchedules = pytest.mark.slow(Schedules.TestCase)
TestSchedules.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
