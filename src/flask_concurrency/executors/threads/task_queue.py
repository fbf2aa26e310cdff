"""Keep what waits for a thread, and know how many threads are free for it.

Knows no thread and no deadline. Guarded by the lock of the pool, except where it says otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from flask_concurrency.executors.threads.parked_threads import ParkedThread, ParkedThreads
from flask_concurrency.executors.threads.task import Batch, Task
from flask_concurrency.executors.waiting_line import Slot, WaitingLine


class TaskQueue:
    """Tasks in the order of their turns, and the line of callers that wait for room among them.

    :param max_queue: Tasks that may wait; ``None`` for any number.
    :ivar free: Threads that run nothing, less the tasks that are queued. While it is positive,
        there is a thread for each of them.
    :ivar wake_all: Has all idle threads look around. Takes no lock and needs none.
    :ivar line: Tasks whose callers wait for room.
    """

    def __init__(self, max_queue: int | None) -> None:
        self.max_queue = max_queue
        self.free = 0
        self.line: WaitingLine[Task] = WaitingLine()
        # A dict, because tasks are withdrawn from anywhere in it; to cancel all tasks of a long
        # deque one by one takes the square of their number.
        self._tasks: OrderedDict[Task, None] = OrderedDict()
        self._urgent: OrderedDict[Task, None] = OrderedDict()
        self._idle = ParkedThreads()
        self.wake_all = self._idle.wake_all

    def __len__(self) -> int:
        return len(self._tasks)

    def is_full(self) -> bool:
        """Whether one more task would be too many."""
        return self.max_queue is not None and -self.free >= self.max_queue

    def put(self, task: Task, *, wake: bool = True) -> None:
        """Append ``task``.

        :param wake: Have an idle thread come; not where the calling one is about to take the next.
        """
        if task.urgent:
            self._urgent[task] = None
        self._tasks[task] = None
        self.free -= 1
        if wake:
            self._idle.wake_one()

    def take(self, thread: ParkedThread, *, woken: bool) -> Task | None:
        """Take the first task out; ``None`` if there is none, and the thread has to park.

        :param woken: The thread was woken to look.
        """
        if not self._tasks:  # none came, one was withdrawn, or another thread was quicker
            self._idle.add(thread)
            return None
        task, _ = self._tasks.popitem(last=False)
        if task.urgent:
            self._urgent.pop(task, None)
        if woken:
            self._idle.arrived()
        if self._tasks:
            self._idle.wake_one()
        return task

    def remove(self, task: Task) -> bool:
        """Withdraw ``task``, and return whether it was here."""
        try:
            del self._tasks[task]
        except KeyError:
            return False
        self._urgent.pop(task, None)
        self.free += 1
        if self.line.standing:
            self.let_in()
        return True

    def let_in(self) -> None:
        """Pass slots that have become free on to the callers that wait for one."""
        while self.line.standing and not self.is_full():
            task = self.line.next()
            if task is not None:
                self.put(task)

    def take_out(
        self, tasks: Iterable[Task], batch: Batch | None = None
    ) -> list[tuple[Task, Slot | None]]:
        """Take those of ``tasks`` out that have not started, and with them the rest of ``batch``.

        :returns: Each with the slot that its caller waits for, if there is one.
        """
        taken: list[tuple[Task, Slot | None]] = []
        if batch is not None:
            taken += [(task, None) for task in batch.clear()]
        for task in tasks:
            place = self.line.leave(task)
            if place is not None or self.remove(task):
                taken.append((task, place))
        return taken

    def take_all(self) -> list[Task]:
        """Take everything out that waits for a thread."""
        taken: list[Task] = []
        while self._tasks:
            task, _ = self._tasks.popitem(last=False)
            taken.append(task)
            self.free += 1
            if task.batch is not None:
                taken += task.batch.clear()
        self._urgent.clear()
        return taken

    def has_urgent(self) -> bool:
        """Whether a task waits for which a thread may be started in place of a blocked one."""
        return bool(self._urgent) or any(task.urgent for task in self.line.standing)

    def take_urgent(self) -> Task | None:
        """Take the first of these out."""
        while self._urgent:
            task = next(iter(self._urgent))
            if self.remove(task):
                return task
            self._urgent.pop(task, None)
        return self.line.next(lambda task: task.urgent)
