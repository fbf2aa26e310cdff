"""Decide which task runs where, and when workers start and end: every change of state is a verb.

Pure: knows no lock, no socket and no process. The pool calls it under its lock, and carries out
the :class:`Orders` that a verb returns.

What holds after every verb:

- a task is in one place: it stands in line, waits in its batch, is queued, has a worker, has an
  ending, or is finished;
- a batch has at most ``max_workers`` tasks placed, that is queued or with a worker;
- a worker is idle, or owes a message and is held by a turn or left to ``readers.py``;
- there are never more than ``max_workers`` workers.

An exception of a signal handler may interrupt a verb at any line. Then :meth:`Schedule.mend`
rebuilds everything else from the facts that tasks and workers hold, and returns the orders that
got lost.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.records import DONE, NO_REPLY, Batch, Task, Worker
from flask_concurrency.executors.processes.snapshot import ProcessSnapshot
from flask_concurrency.executors.processes.wire import READY, RECYCLE
from flask_concurrency.executors.waiting_line import Slot, WaitingLine
from flask_concurrency.runtime.durations import Durations
from flask_concurrency.vocabulary.errors import QueueFull

MAX_DELIVERIES = 3
"""A task whose worker died before reading it is given to another one, but not for ever."""

UNASKED = "it sent what it was not asked for"

LateError = Callable[[Task], Exception]


class Orders:
    """What is to be done now, without the lock, in this order.

    :ivar finish: Tasks whose futures are to be completed by their endings.
    :ivar kill: Workers to kill at once.
    :ivar close: Workers that are gone, whose channels no turn holds.
    :ivar send: Workers that are to get their task, held by the turn of the verb.
    :ivar start: Workers to start, held likewise.
    """

    # No ``__init__``: most verbs order nothing, and five new lists cost 5 % of a short task
    # (``python -m benchmarks processes-1``).
    send: tuple[Worker, ...] = ()
    start: tuple[Worker, ...] = ()
    kill: tuple[Worker, ...] = ()
    close: tuple[Worker, ...] = ()
    finish: tuple[Task, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.send or self.start or self.kill or self.close or self.finish)


class Schedule:
    """Tasks and workers of one pool. Not safe for threads by itself.

    :param too_late: Makes the error of a task whose deadline has passed.
    :ivar tasks: All that are not finished.
    :ivar workers: All that belong to the pool.
    :ivar leaving: Workers that are gone and whose process or channel is still to be ended.
    :ivar queue: Tasks that the next free worker gets.
    """

    def __init__(self, options: ProcessOptions, too_late: LateError) -> None:
        self.options = options
        self.closing = False
        self.tasks: dict[int, Task] = {}
        self.workers: dict[int, Worker] = {}
        self.leaving: dict[int, Worker] = {}
        self.queue: OrderedDict[int, Task] = OrderedDict()
        self.idle: list[Worker] = []
        self.busy = 0
        self.line: WaitingLine[Task] = WaitingLine()
        self.counts = dict.fromkeys(
            ("done", "failed", "cancelled", "expired", "refused", "killed"), 0
        )
        self.durations = Durations()
        self._too_late = too_late
        self._batches: dict[Batch, None] = {}
        self._task_numbers = itertools.count(1)
        self._worker_numbers = itertools.count(1)

    # --- tasks come ---

    def has_room(self) -> bool:
        """Whether the queue has room for one more task.

        A task counts as waiting only beyond one for each worker: those go to workers at once, or
        as soon as these have started.
        """
        bound = self.options.max_queue
        return bound is None or len(self.queue) + self.busy < self.options.max_workers + bound

    def submit(
        self, tasks: Sequence[Task], turn: object, now: float, *, waits: bool = False
    ) -> Orders:
        """Take new tasks: one, or some of a batch.

        :param waits: The caller can wait for a slot: the first task stands in line for it.
        :raises QueueFull: There is no room, not even for one task of the batch.
        """
        first = tasks[0]
        batch = first.batch
        if (
            self.idle
            and batch is None
            and not self.queue
            and not self.line.standing
            and (first.deadline is None or first.deadline.at > now)
        ):  # as for most: what follows does the same, and a call takes 3 µs more of 57
            orders = Orders()
            first.number = next(self._task_numbers)
            self.tasks[first.number] = first
            worker = self.idle.pop()
            self._give(worker, first, turn, now)
            orders.send = (worker,)
            return orders
        room = self.has_room() and not self.line.standing
        refused = not room and (batch is None or not batch.placed)
        if refused and not waits:
            self.counts["refused"] += 1
            raise QueueFull(self.options.name, max_queue=self.options.max_queue or 0)
        for task in tasks:
            task.number = next(self._task_numbers)
            self.tasks[task.number] = task
            if refused and task is first:
                first.slot = Slot()
                self.line.standing[first] = first.slot
            elif batch is None or (
                not refused and batch.placed < self.options.max_workers and self.has_room()
            ):
                self._place(task)
            else:
                batch.waiting[task.number] = task
                self._batches[batch] = None
        orders = Orders()
        if self.queue:
            self._match(turn, orders, now)
            if self.queue:
                self._hire(turn, orders)
        return orders

    def withdraw(self, task: Task) -> bool:
        """Take a task back that no worker has, and return whether there was one to take back."""
        if self.queue.pop(task.number, None) is not None:
            self._pass_on(task)
            return True
        if self.line.leave(task) is not None:
            return True
        return task.batch is not None and task.batch.waiting.pop(task.number, None) is not None

    def waiting(self) -> list[Task]:
        """Return all tasks that no worker has."""
        behind = [task for batch in self._batches for task in batch.waiting.values()]
        return [*self.queue.values(), *behind]

    # --- workers answer, and end ---

    def answered(
        self, worker: Worker, kind: int, number: int, content: Any, turn: object, now: float
    ) -> Orders:
        """Take note of a worker's message. ``turn`` holds the worker."""
        orders = Orders()
        task = worker.task
        # Its task's time was up; or a thread was interrupted that had taken note of the message.
        if worker.gone or number == worker.answered or (kind == READY and worker.ready):
            return orders
        if kind == READY:
            worker.ready = True
        elif task is not None and number == task.number:
            task.settler = turn
            task.ending = kind & ~RECYCLE, content
            worker.answered = number
            worker.replies += 1
            started_at = now if task.started_at is None else task.started_at
            self.durations.record((started_at - task.submitted_at, now - started_at))
            self._unassign(worker)
            orders.finish = (task,)
            limit = self.options.max_tasks_per_worker
            if kind & RECYCLE or (limit is not None and worker.replies >= limit):
                self._remove(worker, orders)
                self._match(turn, orders, now)
                self._hire(turn, orders, at_least=1)
                return orders
        else:
            self._kill(worker, UNASKED, orders)
            return orders
        if not self.queue:
            self._rest(worker, now)
        elif self._assign(worker, turn, orders, now):
            orders.send += (worker,)
        return orders

    def lost(
        self, worker: Worker, error: Exception | None, turn: object, now: float, *, unread: bool
    ) -> Orders:
        """Part with a worker whose process has ended. Its task, and no other, fails.

        :param error: What the task fails with.
        :param unread: It never read the task, which then waits again.
        """
        orders = Orders()
        if worker.gone:
            return orders
        task = worker.task
        lively = task is not None or worker.replies > 0
        self._remove(worker, orders)
        if task is not None:
            # One that this process had killed has taken its task along, read or not.
            unread = unread and worker.killed_because is None
            if unread and task.deliveries < MAX_DELIVERIES:
                task.started_at = None
                self._unassign(worker, passes_on=False)
                self.queue[task.number] = task
                self.queue.move_to_end(task.number, last=False)
            else:
                task.settler = turn
                task.ending = NO_REPLY, error
                self._unassign(worker)
                orders.finish += (task,)
        self._match(turn, orders, now)
        # One that ended in idleness without having done anything is replaced when the next task
        # comes: the same cause would end each successor at once, without end.
        self._hire(turn, orders, at_least=int(lively))
        return orders

    def start_failed(self, worker: Worker, error: Exception, turn: object) -> Orders:
        """Remove a worker that did not start.

        If there is another, or one is still starting, the tasks wait for that. If not, they fail:
        trying for ever would only hide the reason.
        """
        orders = Orders()
        if worker.gone:
            return orders
        self._remove(worker, orders)
        if not self.workers:
            for task in [*self.waiting(), *self.line.standing]:
                self._end(task, error, turn, orders)
        return orders

    def start_again(self, worker: Worker, turn: object) -> Orders:
        """Remove a worker that did not start, and have another one started in its place."""
        orders = Orders()
        if not worker.gone:
            self._remove(worker, orders)
            self._hire(turn, orders)
        return orders

    def idle_too_long(self, now: float) -> tuple[Orders, float]:
        """Remove the workers that were idle for ``idle_timeout``; return when to look again.

        The one that worked last gets the next task, so those at the front are idle longest.
        """
        orders = Orders()
        timeout = self.options.idle_timeout
        if timeout is None:
            return orders, inf
        for worker in tuple(self.idle):
            if worker.idle_since + timeout <= now:
                self._remove(worker, orders)
        return orders, min((worker.idle_since for worker in self.idle), default=now) + timeout

    def kill(self, worker: Worker, reason: str) -> Orders:
        """Have a worker killed that stays in the pool until its end is noticed."""
        orders = Orders()
        if not worker.gone:
            self._kill(worker, reason, orders)
        return orders

    def not_idle(self, worker: Worker) -> bool:
        """Give a worker whose process has ended no more tasks; return whether it was idle."""
        if worker not in self.idle:
            return False
        self.idle.remove(worker)
        return True

    # --- tasks end before their time, or are finished ---

    def expired(self, task: Task, turn: object, now: float) -> Orders:
        """End a task whose deadline has passed."""
        orders = Orders()
        if task.finished or task.ending is not None or not task.number:
            return orders
        error = self._too_late(task)
        self._take_back(task, "its task's deadline passed", turn, orders, now)
        self._end(task, error, turn, orders)
        return orders

    def finished(self, task: Task, turn: object, now: float, *, cancelled: bool) -> Orders:
        """Forget a task whose future is done. If it was cancelled while it ran, its worker ends."""
        orders = Orders()
        if task.number not in self.tasks:
            return orders
        if cancelled:
            task.count = "cancelled"
            if task.ending is None:
                self._take_back(task, "its task was cancelled", turn, orders, now)
        if not task.finished:
            task.finished = True
            self.counts[task.count] += 1
        if task.signals:
            task.wake_waiters()
        del self.tasks[task.number]
        if self.queue and self.idle:
            self._match(turn, orders, now)
        return orders

    def close(self) -> list[tuple[Task, Slot]]:
        """Take no more tasks; return those whose callers stand in line, to be turned away."""
        self.closing = True
        return self.line.clear()

    def remove_all(self) -> Orders:
        """Part with every worker, once there are no tasks."""
        orders = Orders()
        for worker in tuple(self.workers.values()):
            self._remove(worker, orders)
        return orders

    def may_close(self) -> bool:
        """Whether everything is done, and no thread holds a worker."""
        return (
            self.closing
            and not self.tasks
            and all(worker.reader is None for worker in self.workers.values())
        )

    # --- an interrupted thread ---

    def mend(self, struck: object, turn: object, now: float) -> Orders:
        """Rebuild what follows from the facts, after a thread was struck by an exception.

        :param struck: The turn of that thread. What it held and had to settle becomes ``turn``'s.
        :returns: Everything that is left to do, for no order that the thread had got is lost.
        """
        orders = Orders()
        for worker in tuple(self.workers.values()):
            if worker.gone:
                self._remove(worker, orders)
        live = [task for task in self.tasks.values() if task.ending is None and not task.finished]
        holders = {
            worker.task: worker
            for worker in self.workers.values()
            if worker.task is not None and worker.task.ending is None and not worker.task.finished
        }
        for worker in (*self.workers.values(), *self.leaving.values()):
            if worker.reader is struck:
                worker.reader = turn
        for worker in self.workers.values():
            if worker.task is not None and holders.get(worker.task) is not worker:
                worker.answered = worker.task.number
                worker.task = None
        for task in self.tasks.values():
            task.worker = holders.get(task)
        self.busy = len(holders)
        self._mend_queue([task for task in live if task not in holders])
        resting = [w for w in self.workers.values() if w.launched and not w.owes]
        known = [worker for worker in self.idle if worker in resting]
        self.idle = [*known, *(worker for worker in resting if worker not in known)]
        for worker in resting:
            worker.reader = None
        for worker in tuple(self.workers.values()):
            if worker.reader is turn and not worker.launched:  # whether it was begun is not known
                self._remove(worker, orders)
            elif worker.reader is turn and worker.task is not None:
                orders.send += (worker,)
        for worker in tuple(self.workers.values()):
            if worker.killed_because is not None:
                orders.kill += (worker,)
        for worker in self.leaving.values():
            if worker.killed_because is not None:
                orders.kill += (worker,)
            if worker.reader is None or worker.reader is turn:
                orders.close += (worker,)
        for task in self.tasks.values():
            if task.settler is struck:
                task.settler = turn
            if task.signals:
                task.wake_waiters()
        orders.finish += tuple(
            task
            for task in self.tasks.values()
            if task.future._state in DONE
            or (task.ending is not None and task.settler in (turn, None))
        )
        self._match(turn, orders, now)
        self._hire(turn, orders)
        return orders

    def _mend_queue(self, unassigned: Iterable[Task]) -> None:
        queue = self.queue
        waiting: dict[int, Task] = {}
        self.queue, self._batches = OrderedDict(), {}
        lined: list[Task] = []
        batches = {task.batch for task in self.tasks.values() if task.batch is not None}
        for batch in batches:
            batch.placed = sum(
                task.batch is batch and task.worker is not None for task in self.tasks.values()
            )
            batch.waiting = OrderedDict()
        here = list(unassigned)
        came_back = [task for task in here if task.deliveries]
        for task in [*came_back, *(task for task in here if not task.deliveries)]:
            if task.slot is not None and not task.slot.done():
                lined.append(task)
            elif task.batch is None or task.number in queue or task.deliveries:
                self._place(task)
            else:
                waiting[task.number] = task
        for task in sorted(waiting.values(), key=lambda task: task.number):
            assert task.batch is not None
            task.batch.waiting[task.number] = task
            self._batches[task.batch] = None
        self.line.standing = {task: task.slot for task in lined if task.slot is not None}
        for batch in tuple(self._batches):
            self._fill(batch)
        self._let_in()

    def snapshot(self) -> ProcessSnapshot:
        """Copy the counts."""
        return ProcessSnapshot(
            workers=len(self.workers),
            max_workers=self.options.max_workers,
            busy=self.busy,
            queued=len(self.waiting()),
            max_queue=self.options.max_queue,
            waiting=len(self.line.standing),
            durations=self.durations.summary(),
            **self.counts,
        )

    # --- steps of the verbs ---

    def _place(self, task: Task) -> None:
        self.queue[task.number] = task
        if task.batch is not None:
            task.batch.placed += 1

    def _pass_on(self, task: Task) -> None:
        """Give the slot that a task had to the next of its batch, or of those in line."""
        batch = task.batch
        if batch is not None:
            batch.placed -= 1
            self._fill(batch)
        if self.line.standing:
            self._let_in()

    def _fill(self, batch: Batch) -> None:
        while batch.waiting and batch.placed < self.options.max_workers:
            if batch.placed and not self.has_room():
                return
            number = next(iter(batch.waiting))
            self._place(batch.waiting[number])
            del batch.waiting[number]
        if not batch.waiting:
            self._batches.pop(batch, None)

    def _let_in(self) -> None:
        while self.line.standing and self.has_room():
            task = self.line.next()
            if task is not None:
                self._place(task)
                if task.batch is not None:
                    self._fill(task.batch)

    def _assign(self, worker: Worker, turn: object, orders: Orders, now: float) -> bool:
        """Give a worker the task that has waited longest, and return whether there was one."""
        while self.queue:
            number = next(iter(self.queue))
            task = self.queue[number]
            if task.deadline is not None and task.deadline.at <= now:
                self.queue.pop(number)
                self._pass_on(task)
                self._end(task, self._too_late(task), turn, orders)
                continue
            self._give(worker, task, turn, now)
            del self.queue[number]
            return True
        self._rest(worker, now)
        return False

    def _give(self, worker: Worker, task: Task, turn: object, now: float) -> None:
        worker.reader = turn
        worker.task = task
        task.worker = worker
        task.started_at = now
        task.deliveries += 1
        self.busy += 1

    def _unassign(self, worker: Worker, *, passes_on: bool = True) -> None:
        """Take its task from a worker."""
        task = worker.task
        if task is not None:
            worker.task = task.worker = None
            self.busy -= 1
            if passes_on and (task.batch is not None or self.line.standing):
                self._pass_on(task)

    def _rest(self, worker: Worker, now: float) -> None:
        worker.reader = None
        worker.idle_since = now
        if worker not in self.idle:
            self.idle.append(worker)

    def _match(self, turn: object, orders: Orders, now: float) -> None:
        """Give waiting tasks to idle workers: first to the one that worked last."""
        while self.queue and self.idle:
            worker = self.idle.pop()
            if not self._assign(worker, turn, orders, now):
                return
            orders.send += (worker,)

    def _hire(self, turn: object, orders: Orders, *, at_least: int = 0) -> None:
        """Have a worker started for each queued task that none is starting for.

        :param at_least: So many in any case: one has ended.
        """
        room = self.options.max_workers - len(self.workers)
        if room <= 0:
            return
        starting = sum(not worker.ready for worker in self.workers.values())
        wanted = max(len(self.queue) - starting, 0 if self.closing else at_least)
        for _ in range(min(wanted, room)):
            worker = Worker(next(self._worker_numbers))
            worker.reader = turn
            self.workers[worker.number] = worker
            orders.start += (worker,)

    def _remove(self, worker: Worker, orders: Orders) -> None:
        """Part with a worker; the turn that holds it closes its channel."""
        self.leaving[worker.number] = worker
        worker.gone = True
        self.workers.pop(worker.number, None)
        if worker in self.idle:
            self.idle.remove(worker)
        orders.close += (worker,)

    def _kill(self, worker: Worker, reason: str, orders: Orders) -> None:
        worker.killed_because = reason
        self.counts["killed"] += 1
        orders.kill += (worker,)

    def _take_back(self, task: Task, reason: str, turn: object, orders: Orders, now: float) -> None:
        """Take a task out of wherever it waits, or from its worker, which is killed then.

        That one's channel is closed at once, so what it still answers is not read, and its
        successor need not wait for its end.
        """
        worker = task.worker
        if worker is None:
            self.withdraw(task)
            return
        self._remove(worker, orders)
        self._kill(worker, reason, orders)
        self._unassign(worker)
        self._hire(turn, orders, at_least=1)

    def _end(self, task: Task, error: Exception, turn: object, orders: Orders) -> None:
        """End a task that no worker has by an error that is made here."""
        task.settler = turn
        task.ending = NO_REPLY, error
        self.withdraw(task)
        orders.finish += (task,)
