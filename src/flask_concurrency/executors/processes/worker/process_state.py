"""Decide in what state of signals and standard input a new process begins. Knows no owner."""

from __future__ import annotations

import ctypes
import multiprocessing.util
import os
import signal
import sys
import threading
from types import FrameType


def do_nothing(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by letting it pass. Unlike SIG_IGN, programs do not inherit it."""


def let_stop_signals_pass() -> None:
    """Let Ctrl-C and SIGTERM pass, and block no signal that a thread of the owner had blocked.

    A service manager sends SIGTERM to every process of a service at once, and a worker has to
    finish what a request of its draining owner waits for. It ends with its owner.
    """
    signal.signal(signal.SIGINT, do_nothing)
    signal.signal(signal.SIGTERM, do_nothing)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def give_forked_children_stop_signals() -> None:
    """Let Ctrl-C and SIGTERM have their usual meaning in the processes that a task forks.

    The signals are held back around the fork: one that is sent to the child at once must not
    meet the handler that lets it pass.
    """
    if not hasattr(os, "register_at_fork"):
        return
    stop_signals = (signal.SIGINT, signal.SIGTERM)
    masks: list[set[int]] = []

    def hold_back() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals))

    def let_through() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        let_through()

    os.register_at_fork(before=hold_back, after_in_parent=let_through, after_in_child=restore)


def end_what_tasks_left() -> None:
    """End a worker as the standard library's end: threads first, then child processes.

    Waits for threads that are no daemons, ends the daemons among the processes that tasks started
    with ``multiprocessing`` and joins the others, and calls its finalizers.
    """
    here = threading.current_thread()
    for thread in threading.enumerate():
        if thread is not here and not thread.daemon:
            thread.join()
    multiprocessing.util._exit_function()  # type: ignore[attr-defined]


def reseed() -> None:
    """Give a forked worker random numbers of its own. ``random`` does so by itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def detach_stdin() -> int:
    """Put the null device in the place of standard input, and return what was there."""
    original = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 # open as long as the process
    return original


_PR_SET_PDEATHSIG = 1

# Loaded here, once, in the forkserver: a freshly forked worker only calls it.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Linux only.

    The kernel means the parent's *thread* that forked. The forkserver has one; for the owner,
    whose threads come and go, this would be wrong.
    """
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
