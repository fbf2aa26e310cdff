"""Decide when a worker is started, how its end is noticed, and what then becomes of its task.

Knows the launcher and the roster; reads no replies and completes no future.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
from typing import Final

from flask_concurrency.executors.processes.failure_messages import died, start_failure
from flask_concurrency.executors.processes.launch.forkserver_launcher import ForkserverLauncher
from flask_concurrency.executors.processes.launch.launcher import (
    Launcher,
    LauncherEnded,
    Origin,
)
from flask_concurrency.executors.processes.launch.spawn_launcher import SpawnLauncher
from flask_concurrency.executors.processes.main_script import find_main
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.payloads import cannot_pickle, name_of
from flask_concurrency.executors.processes.readers import NO_REPLY, Desk, Round
from flask_concurrency.executors.processes.records import WorkerRecord
from flask_concurrency.executors.processes.schedule import MAX_DELIVERIES, Roster
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.executors.processes.wire import SETUP, Channel
from flask_concurrency.executors.processes.worker.log_relay import (
    levels_here,
    make_relay,
    relay_records,
)
from flask_concurrency.executors.processes.worker.setup import Setup, search_path
from flask_concurrency.executors.processes.worker.task_context import encode_around
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ExecutorError, TaskNotPicklable, WorkerStartFailed
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

EXIT_CODE_WAIT: Final = 1.0
"""Seconds to wait for the exit code of a worker whose channel has ended; it takes well under a
millisecond, unless a task closed the channel and the process lives on."""
STOP_GRACE: Final = 1.0
"""Seconds that idle workers get to end by themselves at a shutdown."""

Hired = list[tuple[WorkerRecord, socket.socket]]


class Staff:
    """Starts, kills and buries the workers of one pool."""

    def __init__(self, lock: threading.Lock, roster: Roster, desk: Desk, watch: Watch) -> None:
        self._lock = lock
        self._roster = roster
        self._options = roster.options
        self._desk = desk
        self._watch = watch
        # For the launcher alone, because starting one and reading its notices take time. Taken
        # before the pool's lock, never after.
        self._launcher_lock = threading.Lock()
        self._launcher: Launcher | None = None
        self._launcher_fd = -1
        self._relay: socket.socket | None = None
        self._stopped = False

    def hire(self, round: Round, *, replacing: bool = False) -> Hired:
        """Note the workers that are needed now; under the pool's lock. Start them without it.

        :param replacing: One is needed in any case, because one has ended.
        """
        roster = self._roster
        count = roster.vacancies()
        if replacing and not roster.closing and len(roster.workers) < self._options.max_workers:
            count = max(count, 1)
        hired: Hired = []
        for _ in range(count):
            try:
                ours, theirs = socket.socketpair()
            except OSError as error:
                reason = f"{error}. Raise the limit of open files of this process."
                self._give_up(round, f"No worker of {self._options.name!r} can start: {reason}")
                break
            worker = roster.hire(Channel(ours))
            round.take(worker)
            hired.append((worker, theirs))
        return hired

    def launch(self, round: Round, hired: Hired) -> None:
        """Start workers that were hired. A failure becomes the failure of the waiting tasks."""
        for worker, end in hired:
            try:
                with self._launcher_lock:
                    self._launcher_here().launch(worker.number, end)
                setup = make_setup(self._options, worker.number)
                worker.channel.send(SETUP, payload=setup)
            except (OSError, ExecutorError) as error:
                self.read_notices()
                self.lose_start(round, worker, worker.lost_because or str(error))
            finally:
                end.close()

    def take_away(self, round: Round, worker: WorkerRecord, reason: str) -> Hired:
        """Part with a worker whose task is over before its end; under the pool's lock.

        Its channel is closed at once, so what it still answers reaches nobody, and its successor
        need not wait for its end. To be followed by :meth:`end` and :meth:`launch`, without lock.

        :param reason: Completes the sentence "killed, because ...".
        :returns: Its successor, which ``round`` holds.
        """
        worker.killed_because = reason
        worker.dismissed = True  # first: whoever finds it without its task looks at this next
        self._roster.counts["killed"] += 1
        self._roster.unassign(worker)
        self._roster.dismiss(worker)
        if worker.holder is None:
            self._desk.release(worker)
            worker.channel.close()
        else:  # another thread reads it or writes to it, and closes it once it sees the end
            worker.channel.stop_reading()
        return self.hire(round, replacing=True)

    def end(self, worker: WorkerRecord) -> None:
        """Have a worker's process killed at once."""
        with self._launcher_lock:
            if self._launcher is not None:
                self._launcher.kill(worker.number)

    def kill(self, worker: WorkerRecord, reason: str) -> None:
        """End a worker of the pool at once. Whoever reads its channel sees the end and buries it.

        :param reason: Completes the sentence "killed, because ...".
        """
        with self._lock:
            worker.killed_because = reason
            self._roster.counts["killed"] += 1
        self.end(worker)

    def bury(self, round: Round, worker: WorkerRecord, *, unread: bool = False) -> None:
        """Part with a worker whose channel has ended, and which ``round`` holds.

        Its task, and no other, fails; or waits again if the worker never read it.

        :param unread: The worker ended before it had read all that was sent to it.
        """
        self._wait_for_exit(worker)
        if worker.dismissed:
            return
        if not worker.ready:
            self.lose_start(round, worker, start_failure(worker))
            return
        with self._lock:
            if worker.dismissed:  # its task's time was up meanwhile
                return
            task = self._roster.unassign(worker)
            # One that this process had killed has taken its task along, read or not.
            unread = unread and worker.killed_because is None
            if task is not None and unread and task.deliveries < MAX_DELIVERIES:
                self._roster.give_back(task)
            elif task is not None:
                round.end(task, NO_REPLY, died(self._options, worker, task.name))
            self._dismiss(worker)
            # One that ended in idleness without having done anything is replaced when the next
            # task comes: whatever ends it would end its successors too, in an endless row.
            lively = task is not None or worker.replies > 0
            hired = self.hire(round, replacing=lively)
        worker.channel.close()
        self.launch(round, hired)

    def retire(self, round: Round, worker: WorkerRecord) -> None:
        """Part with a worker that has done its share; ``round`` holds it, and it has no task."""
        with self._lock:
            self._dismiss(worker)
            hired = self.hire(round, replacing=True)
        worker.channel.close()  # which it takes as the end
        self.launch(round, hired)

    def lose_start(self, round: Round, worker: WorkerRecord, reason: str) -> None:
        """Part with a worker that did not come up; ``round`` holds it.

        If there is another, or one is still starting, the tasks wait for that. If not, they
        fail: trying for ever would only hide the reason.
        """
        with self._lock:
            self._dismiss(worker)
            name = self._options.name
            self._give_up(round, f"Worker {worker.number} of {name!r} did not start: {reason}")
        worker.channel.close()

    def attend(self, fd: int) -> bool:
        """Read the launcher's notices, or what workers have logged, if ``fd`` is of that.

        :returns: Whether it was.
        """
        relay = self._relay
        if relay is not None and fd == relay.fileno():
            relay_records(relay)
            return True
        if fd != self._launcher_fd:
            return False
        self.read_notices()
        return True

    def read_notices(self) -> None:
        """Note what the launcher tells, so that whoever reads an ended worker's channel sees it.

        Normally the channel has ended before; but an idle worker's nobody reads, and a process
        that a task left behind may hold a copy of it.
        """
        with self._launcher_lock:
            notices = self._launcher.notices() if self._launcher is not None else []
            if notices and isinstance(notices[-1], LauncherEnded):
                self._drop_launcher()
            with self._lock:
                workers = self._roster.workers
                for notice in notices:
                    if isinstance(notice, LauncherEnded):
                        for worker in workers.values():
                            worker.lost_because = notice.reason
                            self._end_reading(worker)
                    elif (ended := workers.get(notice.worker)) is not None:
                        ended.exitcode = notice.exitcode
                        self._end_reading(ended)

    def stop(self) -> None:
        """End the launcher; the workers have been told to end."""
        with self._launcher_lock:
            self._stopped = True
            launcher, self._launcher = self._launcher, None
            if launcher is not None:
                self._watch.disarm(self._launcher_fd)
                launcher.stop(STOP_GRACE)
                self._end_relay()

    def abandon(self) -> None:
        """Drop what belongs to the parent, in a forked child; without a lock, see ``Pool``."""
        for worker in self._roster.workers.values():
            worker.channel.drop()
        if self._launcher is not None:
            self._launcher.abandon()
        if self._relay is not None:
            self._relay.close()

    def _launcher_here(self) -> Launcher:
        """Return the launcher, starting it if need be; under its lock."""
        if self._stopped:
            raise ExecutorError(f"{self._options.name!r} was shut down meanwhile.")
        if self._launcher is None:
            make = SpawnLauncher if self._options.start_method == "spawn" else ForkserverLauncher
            relay = make_relay()
            ours, theirs = relay or (None, None)
            try:
                around = encode_around(self._options.around)
                self._launcher = make(
                    Origin(self._options.preload, around, theirs, self._options.name)
                )
            except BaseException:
                for end in relay or ():
                    end.close()
                raise
            self._launcher_fd = self._launcher.channel.fd
            self._watch.arm(self._launcher_fd)
            if ours is not None:
                self._relay = ours
                self._watch.arm(ours.fileno())
        return self._launcher

    def _drop_launcher(self) -> None:
        if self._launcher is not None:
            self._watch.disarm(self._launcher_fd)
            self._launcher_fd = -1
            self._launcher.stop(0.0)
            self._launcher = None
            self._end_relay()

    def _end_relay(self) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            self._watch.disarm(relay.fileno())
            relay_records(relay)  # what the last ones said
            relay.close()

    def _wait_for_exit(self, worker: WorkerRecord) -> None:
        """Wait until it is known how a worker ended, and make sure that it has."""
        if worker.dismissed:
            return
        for kill_first in (False, True):
            if kill_first:
                self.kill(worker, "it had closed its connection, which is not a task's to close")
            deadline = monotonic() + EXIT_CODE_WAIT
            while monotonic() < deadline:
                self.read_notices()
                if worker.exitcode is not None or worker.lost_because is not None:
                    return
                launcher = self._launcher
                if worker.dismissed or launcher is None:
                    return
                # Without its lock, which a kill must not wait for; and in short waits, because
                # another thread may read the notice.
                launcher.channel.readable(0.02)

    def _give_up(self, round: Round, message: str) -> None:
        """Fail the waiting tasks if there is no worker; under the pool's lock."""
        if self._roster.workers:
            logger.warning("%s", message)
            return
        for task in self._roster.waiting():
            self._roster.withdraw(task)
            round.end(task, NO_REPLY, WorkerStartFailed(message))

    def _dismiss(self, worker: WorkerRecord) -> None:
        worker.holder = None
        self._roster.dismiss(worker)

    def _end_reading(self, worker: WorkerRecord) -> None:
        if worker in self._roster.idle:
            self._roster.idle.remove(worker)
            self._desk.arm(worker)
        worker.channel.stop_reading()


def make_setup(options: ProcessOptions, number: int) -> bytes:
    """Describe this process to a worker.

    :param number: The worker's.

    :raises TaskNotPicklable: The initializer or its arguments cannot be pickled.
    """
    pickled, initializer, initargs = None, options.initializer, options.initargs
    if initializer is not None:
        reason = cannot_pickle((initializer, initargs))
        if reason is not None:
            raise TaskNotPicklable(
                f"The initializer {name_of(initializer)!r} or its 'initargs' cannot be sent to a "
                f"worker process: {reason}. Use a function of a module and plain arguments."
            )
        pickled = pickle.dumps((initializer, initargs), pickle.HIGHEST_PROTOCOL)
    try:
        directory: str | None = os.getcwd()
    except OSError:
        directory = None
    setup = Setup(
        path=search_path(),
        directory=directory,
        argv=list(sys.argv),
        main=find_main(),
        initializer=pickled,
        shares_memory=options.max_shared_memory > 0,
        max_memory=options.max_memory,
        name=f"{options.name}-{number}",
        levels=levels_here(),
    )
    return pickle.dumps(setup, pickle.HIGHEST_PROTOCOL)
