"""Keep what waits for a thread, and know how many threads are free for it.

Knows no thread and no deadline. Guarded by the lock of the pool, except where it says otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from queue import SimpleQueue

from flask_concurrency.executors.threads.task import Batch, Task
from flask_concurrency.executors.waiting_line import Slot, WaitingLine


class TaskQueue:
    """Tasks in the order of their turns, and the line of callers that wait for room among them.

    :param max_queue: Tasks that may wait; ``None`` for any number.
    :ivar free: Threads that run nothing, less the tasks that are queued. While it is positive,
        there is a thread for each of them.
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
        # One token for each task, and some more: a thread that gets a token looks for a task. The
        # tokens are for sleeping on.
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._tasks)

    def is_full(self) -> bool:
        """Whether one more task would be too many."""
        return self.max_queue is not None and -self.free >= self.max_queue

    def put(self, task: Task) -> None:
        """Append ``task``."""
        if task.urgent:
            self._urgent[task] = None
        self._tasks[task] = None
        self.free -= 1
        self._tokens.put(None)

    def get(self) -> Task | None:
        """Sleep until there is a task, or a reason to look around. Takes no lock and needs none."""
        self._tokens.get()
        try:
            task, _ = self._tasks.popitem(last=False)
        except KeyError:  # withdrawn, or another thread was quicker
            return None
        if task.urgent:
            self._urgent.pop(task, None)
        return task

    def wake(self) -> None:
        """Have one thread look around. Takes no lock and needs none."""
        self._tokens.put(None)

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
            try:
                task = next(iter(self._urgent))
            except (StopIteration, RuntimeError):  # a thread has taken one up at this moment
                continue
            if self.remove(task):
                return task
            self._urgent.pop(task, None)
        return self.line.next(lambda task: task.urgent)
