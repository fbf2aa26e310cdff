"""Decide in what state of signals and standard input a new process begins. Knows no owner."""

from __future__ import annotations

import os
import signal
import sys
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


def restore_stop_signals() -> None:
    """Give Ctrl-C and SIGTERM their usual meaning back, in a process that a task forks."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def detach_stdin() -> int:
    """Put the null device in the place of standard input, and return what was there."""
    original = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 # open as long as the process
    return original
