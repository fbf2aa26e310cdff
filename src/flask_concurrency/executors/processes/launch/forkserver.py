"""Decide when a worker is forked and when it is killed, in the forkserver process itself.

Knows its children by number and process id, and nothing of tasks. It has one thread, sleeps in
``select`` and does a few system calls when woken, so it acts within a millisecond: that makes it
the guardian of its workers, which need no thread of their own to watch over their owner.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import traceback
from contextlib import suppress
from typing import Any, NoReturn

from flask_concurrency.executors.processes.is_worker import mark_worker
from flask_concurrency.executors.processes.launch.hazards import hazards
from flask_concurrency.executors.processes.launch.preload import (
    PreloadFailed,
    preload,
    take_log,
    take_tracker,
)
from flask_concurrency.executors.processes.wire import (
    EXITED,
    KILL,
    LAUNCH,
    LAUNCHER_FAILED,
    LAUNCHER_UNFIT,
    QUIT,
    Channel,
)
from flask_concurrency.executors.processes.worker import main as worker_process
from flask_concurrency.executors.processes.worker.process_state import (
    detach_stdin,
    die_with_parent,
    do_nothing,
    let_stop_signals_pass,
    reseed,
)
from flask_concurrency.vocabulary.clock import monotonic


def main(config: dict[str, Any]) -> NoReturn:
    """Be a forkserver until the owner has ended; in its children, be a worker."""
    mark_worker()  # before the application is imported, which may use its pool at import
    os.close(detach_stdin())
    let_stop_signals_pass()
    control = Channel(socket.socket(fileno=config["control"]))
    os.set_inheritable(control.fileno(), False)
    handler = take_log(config)
    take_tracker(config)
    try:
        preload(config)
    except PreloadFailed as error:
        _report(control, f"{error}.\n{traceback.format_exc()}")
        os._exit(1)
    except BaseException:
        _report(control, f"'task_context' failed before workers began.\n{traceback.format_exc()}")
        os._exit(1)
    own = {config[key] for key in ("control", "log", "tracker")}
    if found := hazards(frozenset(own)):
        _report(control, "; ".join(found), LAUNCHER_UNFIT)
        os._exit(0)
    # What is there now is never collected, so that a worker's collector does not write to the
    # pages it shares with the others.
    gc.collect()
    gc.freeze()
    worker = Forkserver(control, owner=config["owner"]).run()
    if worker is not None:
        worker_process.main(worker, handler)
    # Not by Python's own end, which waits for threads that a preloaded module may have started.
    os._exit(0)


def _report(control: Channel, text: str, kind: int = LAUNCHER_FAILED) -> None:
    with suppress(OSError):  # the owner may have ended meanwhile
        control.send(kind, payload=text.encode(errors="replace"))


class Forkserver:
    """Forks and kills as the owner asks, reports what ends, and ends with its owner.

    :param control: Where requests come from and notices go.
    :param owner: Process id of the owner.
    """

    def __init__(self, control: Channel, *, owner: int) -> None:
        self._control = control
        self._pids: dict[int, int] = {}  # process id -> number of the worker
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        # Python writes the number of a signal there when it comes, which ends a select().
        self._signal_read, self._signal_write = socket.socketpair()
        for end in (self._signal_read, self._signal_write):
            end.setblocking(False)
        self._selector.register(self._signal_read, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, do_nothing)
        signal.set_wakeup_fd(self._signal_write.fileno())
        self._owner_fd = self._watch_owner(owner)

    def run(self) -> Channel | None:
        """Serve until the owner has ended: ``None``. In a new worker: its channel."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    request = self._control.receive_end()
                    if request is None:
                        self._end(grace=0.0)
                        return None
                    kind, number, fd = request
                    if kind == QUIT:
                        self._end(grace=number / 1000)
                        return None
                    if kind == KILL:
                        self._kill(number)
                    elif kind == LAUNCH and fd is not None:
                        channel = self._fork(number, fd)
                        if channel is not None:
                            return channel
                elif key.fileobj is self._signal_read:
                    self._signal_read.recv(4096)
                    self._reap()
                else:  # the owner itself
                    self._end(grace=0.0)
                    return None

    def _watch_owner(self, owner: int) -> int | None:
        """Watch the owner itself too, where the kernel can.

        A child that the owner forked while it made the control socket has a copy of it, and with
        that the socket does not close when the owner is killed.
        """
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            fd = os.pidfd_open(owner)
        except OSError:  # an old kernel or a sandbox; the socket remains
            return None
        self._selector.register(fd, selectors.EVENT_READ)
        return fd

    def _fork(self, number: int, fd: int) -> Channel | None:
        """Fork a worker; in it, return its channel."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(fd)  # which the owner sees as a worker that ended before it was ready
            self._notify(number, 1)
            return None
        if pid:
            os.close(fd)
            _lead_group(pid)
            self._pids[pid] = number
            return None
        _lead_group(0)
        die_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        let_stop_signals_pass()  # a preloaded module may have set handlers of its own
        self._let_go()
        self._control.drop()
        reseed()
        os.set_inheritable(fd, False)
        return Channel(socket.socket(fileno=fd))

    def _let_go(self) -> None:
        """Close all but the control socket."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._signal_read.close()
        self._signal_write.close()
        if self._owner_fd is not None:
            os.close(self._owner_fd)

    def _kill(self, number: int) -> None:
        for pid, worker in self._pids.items():
            if worker == number:
                _kill_group(pid)

    def _reap(self) -> None:
        # One by one: a preloaded module may have started processes that are its own to wait for.
        for pid in list(self._pids):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                # What its tasks left behind, as long as no other process can have its number.
                _kill_group(pid)
                _, status = os.waitpid(pid, 0)
                self._notify(self._pids.pop(pid), os.waitstatus_to_exitcode(status))

    def _notify(self, number: int, exitcode: int) -> None:
        with suppress(OSError):  # if the owner has ended, the selector reports it
            self._control.send(EXITED, number, str(exitcode).encode())

    def _end(self, *, grace: float) -> None:
        """Give the workers ``grace`` seconds to end by themselves, then kill those left."""
        deadline = monotonic() + grace
        self._selector.unregister(self._control)
        self._reap()
        while self._pids and (left := deadline - monotonic()) > 0:
            self._selector.select(left)
            try:
                self._signal_read.recv(4096)
            except BlockingIOError:  # not a signal but the owner, which ends the grace
                break
            self._reap()
        for pid in self._pids:
            _kill_group(pid)
        for pid in self._pids:
            os.waitpid(pid, 0)
        self._let_go()
        self._control.close()


def _lead_group(pid: int) -> None:
    """Give a worker a process group of its own: what its task started is killed with it.

    Both sides do it, since neither knows which of them comes first.
    """
    with suppress(OSError):  # it has ended already
        os.setpgid(pid, pid)


def _kill_group(pid: int) -> None:
    """Kill a worker that was not waited for yet, so that no other process has its number."""
    with suppress(OSError):  # its task has left the group, or all of it has ended
        os.killpg(pid, signal.SIGKILL)
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
