"""Decide how a worker process is started, killed and reported dead.

Knows the launcher; reads no replies, completes no future, and leaves to the schedule what follows.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import sys
import threading
from typing import Final

from flask_concurrency.executors.processes.launch.forkserver_launcher import ForkserverLauncher
from flask_concurrency.executors.processes.launch.launcher import (
    LaunchConfig,
    Launcher,
    LauncherEnded,
)
from flask_concurrency.executors.processes.launch.spawn_launcher import SpawnLauncher
from flask_concurrency.executors.processes.main_script import find_main
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.payloads import cannot_pickle, name_of
from flask_concurrency.executors.processes.readers import Readers
from flask_concurrency.executors.processes.records import Worker
from flask_concurrency.executors.processes.schedule import Schedule
from flask_concurrency.executors.processes.watch import Watch
from flask_concurrency.executors.processes.wire import SETUP, Channel
from flask_concurrency.executors.processes.worker.log_relay import (
    levels_here,
    make_relay,
    relay_records,
)
from flask_concurrency.executors.processes.worker.setup import Setup, search_path
from flask_concurrency.executors.processes.worker.task_context import encode_task_context
from flask_concurrency.vocabulary.clock import monotonic
from flask_concurrency.vocabulary.errors import ExecutorError, TaskNotPicklable
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.processes")

EXIT_CODE_WAIT: Final = 1.0
"""Seconds to wait for the exit code of a worker whose channel has ended; it takes well under a
millisecond, unless a task closed the channel and the process lives on."""
STOP_GRACE: Final = 1.0
"""Seconds that idle workers get to end by themselves at a shutdown."""


class Supervisor:
    """Starts and kills the worker processes of one pool, and learns how they ended."""

    def __init__(
        self,
        options: ProcessOptions,
        lock: threading.Lock,
        schedule: Schedule,
        readers: Readers,
        watch: Watch,
    ) -> None:
        self._options = options
        self._lock = lock
        self._schedule = schedule
        self._readers = readers
        self._watch = watch
        # For the launcher alone, because starting one and reading its notices take time. Taken
        # before the pool's lock, never after.
        self._launcher_lock = threading.Lock()
        self._launcher: Launcher | None = None
        self._launcher_fd = -1
        self._relay: socket.socket | None = None
        self._start_method = options.start_method
        self._stopped = False

    def start(self, worker: Worker) -> str | None:
        """Start a worker that the calling thread's turn holds; say why if that fails."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            return f"{error}. Raise the limit of open files of this process."
        try:
            worker.channel = Channel(ours)
            with self._launcher_lock:
                self._launcher_here().launch(worker.number, theirs)
            worker.channel.send(SETUP, payload=make_setup(self._options, worker.number))
            worker.launched = True
        except (OSError, ExecutorError) as error:
            self.read_notices()
            return worker.lost_because or str(error)
        finally:
            theirs.close()
        return None

    def kill(self, worker: Worker) -> None:
        """Have a worker's process killed at once; one that has ended is left alone."""
        with self._launcher_lock:
            if self._launcher is not None:
                self._launcher.kill(worker.number)

    def handle_ready(self, fd: int) -> bool:
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
        """Note what the launcher reports, for the thread that reads an ended worker's channel.

        Normally the channel has ended before; but an idle worker's is read by no thread, and a
        process that a task left behind may hold a copy of it.
        """
        with self._launcher_lock:
            notices = self._launcher.notices() if self._launcher is not None else []
            if notices and isinstance(notices[-1], LauncherEnded):
                self._drop_launcher()
                if notices[-1].unfit:
                    self._start_method = "spawn"
                    logger.warning(
                        "The workers of %r are started by 'spawn', each importing the application "
                        "by itself, because forks of it would not be safe: %s. Do it in a function "
                        "instead of at import, or not if flask_concurrency.in_worker().",
                        self._options.name,
                        notices[-1].reason,
                    )
            with self._lock:
                workers = self._schedule.workers
                for notice in notices:
                    if isinstance(notice, LauncherEnded):
                        for worker in workers.values():
                            worker.start_again = notice.unfit
                        for worker in workers.values():
                            worker.lost_because = notice.reason
                            self._end_reading(worker)
                    elif (ended := workers.get(notice.worker)) is not None:
                        ended.exitcode = notice.exitcode
                        self._end_reading(ended)

    def stop(self) -> None:
        """End the launcher; the workers have got the message to end."""
        with self._launcher_lock:
            self._stopped = True
            launcher, self._launcher = self._launcher, None
            if launcher is not None:
                self._watch.unregister(self._launcher_fd)
                launcher.stop(STOP_GRACE)
                self._end_relay()

    def abandon(self) -> None:
        """Drop what belongs to the parent, in a forked child; without a lock, see ``Pool``."""
        if self._launcher is not None:
            self._launcher.abandon()
        if self._relay is not None:
            self._relay.close()

    def _launcher_here(self) -> Launcher:
        """Return the launcher, starting it if need be; under its lock."""
        if self._stopped:
            raise ExecutorError(f"{self._options.name!r} was shut down meanwhile.")
        if self._launcher is None:
            make = SpawnLauncher if self._start_method == "spawn" else ForkserverLauncher
            relay = make_relay()
            ours, theirs = relay or (None, None)
            try:
                context = encode_task_context(self._options.task_context)
                self._launcher = make(
                    LaunchConfig(tuple(self._options.preload), context, theirs, self._options.name)
                )
            except BaseException:
                for end in relay or ():
                    end.close()
                raise
            self._launcher_fd = self._launcher.channel.fd
            self._watch.register(self._launcher_fd)
            if ours is not None:
                self._relay = ours
                self._watch.register(ours.fileno())
        return self._launcher

    def _drop_launcher(self) -> None:
        if self._launcher is not None:
            self._watch.unregister(self._launcher_fd)
            self._launcher_fd = -1
            self._launcher.stop(0.0)
            self._launcher = None
            self._end_relay()

    def _end_relay(self) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            self._watch.unregister(relay.fileno())
            relay_records(relay)  # what the last workers logged
            relay.close()

    def wait_for_exit(self, worker: Worker) -> None:
        """Wait until it is known how a worker ended, and make sure that it has."""
        for kill_first in (False, True):
            if kill_first:
                with self._lock:
                    self._schedule.kill(
                        worker, "it had closed its connection, which is not a task's to close"
                    )
                self.kill(worker)
            deadline = monotonic() + EXIT_CODE_WAIT
            while monotonic() < deadline:
                self.read_notices()
                if worker.exitcode is not None or worker.lost_because is not None:
                    return
                launcher = self._launcher
                if worker.gone or launcher is None:
                    return
                # Without its lock, which a kill must not wait for; and in short waits, because
                # another thread may read the notice.
                launcher.channel.readable(0.02)

    def _end_reading(self, worker: Worker) -> None:
        if self._schedule.not_idle(worker):
            self._readers.register(worker)
        if hasattr(worker, "channel"):
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
        authkey=bytes(multiprocessing.current_process().authkey),
    )
    return pickle.dumps(setup, pickle.HIGHEST_PROTOCOL)
