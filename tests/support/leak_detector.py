"""Decide what a test may not leave behind: held permits, pushed contexts, threads, processes, and
loggers that are set to something else.

Looks from outside: knows no executor, store or app. Waits only where something is left.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from flask.ctx import AppContext

from flask_concurrency.vocabulary.permit import Permit

ENDS_WITHIN: Final = 5.0
"""Seconds that a thread or process which is about to end has for it."""

AT_ONCE: Final = 0.1
"""Part of that time after which a thread is taken for one that garbage keeps."""

OF_THE_PROCESS: Final = (
    "await-exit",
    "concurrency-time",
    "Dask-Offload",
    "look-for-thread-locals",
)
"""Threads that serve the whole process, by name; the second ends when it has idled."""

FOR_THE_PROCESS: Final = "multiprocessing.resource_tracker"
"""In the command of a child process that serves the whole process, to its end."""


class Leak(AssertionError):
    """A test left something behind."""


class LoggerState(NamedTuple):
    """What a logger is set to: whatever of it decides where its records go."""

    level: int
    disabled: bool
    propagate: bool
    handlers: tuple[logging.Handler, ...]
    filters: tuple[object, ...]


class LeakDetector:
    """Sees what a block of code leaves behind.

    :ivar permits: Those that are held, by identity.
    :ivar contexts: The contexts of apps that are pushed, in whatever thread, and how often.
    :ivar kept: Child processes, by id, that outlive a test: those of wider fixtures.
    """

    def __init__(self) -> None:
        self.permits: dict[int, Permit] = {}
        self.contexts: Counter[AppContext] = Counter()
        self.kept: set[int] = set()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Follow each permit and each context of this process from now on."""

        def after(owner: type, name: str, note: Callable[[Any], None]) -> None:
            original = getattr(owner, name)

            def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
                try:
                    return original(self, *args, **kwargs)
                finally:
                    note(self)

            patch.setattr(owner, name, followed)

        after(Permit, "__init__", self._held)
        after(Permit, "release", self._released)
        after(AppContext, "push", self._pushed)
        after(AppContext, "pop", self._popped)

    def _held(self, permit: Permit) -> None:
        self.permits[id(permit)] = permit

    def _released(self, permit: Permit) -> None:
        self.permits.pop(id(permit), None)

    def _pushed(self, context: AppContext) -> None:
        self.contexts[context] += 1

    def _popped(self, context: AppContext) -> None:
        self.contexts[context] -= 1
        if not self.contexts[context]:
            del self.contexts[context]

    @contextmanager
    def no_leaks(self, within: float = ENDS_WITHIN) -> Iterator[None]:
        """See that a block leaves nothing behind.

        :param within: Seconds that threads and processes may still take to end.
        :raises Leak: It left something, which the message names.
        """
        permits, contexts = set(self.permits), Counter(self.contexts)
        threads, processes, loggers = set(threading.enumerate()), child_processes(), our_loggers()
        yield
        left = [f"a held permit: {self.permits[key]}" for key in self.permits.keys() - permits]
        left += [f"a pushed context: {each}" for each in self.contexts - contexts]
        left += [f"a thread: {each.name}" for each in _left_threads(threads, within)]
        left += [f"a process: {_command(each)}" for each in self._processes(processes, within)]
        left += [f"a logger: {each}" for each in _changed(loggers, our_loggers())]
        if left:
            raise Leak("left behind: " + ", ".join(left))

    def _processes(self, before: set[int], within: float) -> set[int]:
        give_up_at = time.monotonic() + within
        while (left := child_processes() - before - self.kept) and time.monotonic() < give_up_at:
            self.kept.update(each for each in left if FOR_THE_PROCESS in _command(each))
            time.sleep(0.005)  # another thread reaps the process, and sets no event
        return left


def child_processes() -> set[int]:
    """Return the process ids of this process's children, the ended ones too."""
    if not hasattr(os, "waitid"):
        return set()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()
    found: set[int] = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            found.update(map(int, thread.read_text().split()))
    return found


def our_loggers() -> dict[str, LoggerState]:
    """Return what our loggers are set to, by name, and the root of all, by ``"root"``."""
    found = {
        name: _state_of(logger)
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.partition(".")[0] == "flask_concurrency" and isinstance(logger, logging.Logger)
    }
    return {**found, "root": _state_of(logging.root)}


def _state_of(logger: logging.Logger) -> LoggerState:
    return LoggerState(
        logger.level,
        logger.disabled or logger.manager.disable > logging.NOTSET,
        logger.propagate,
        tuple(logger.handlers),
        tuple(logger.filters),
    )


AS_MADE: Final = _state_of(logging.Logger("new"))


def _changed(before: dict[str, LoggerState], after: dict[str, LoggerState]) -> Iterator[str]:
    for name, now in after.items():
        then = before.get(name, AS_MADE)
        for what in LoggerState._fields:
            if (was := getattr(then, what)) != (found := getattr(now, what)):
                yield f"{name}, {what} {was} -> {found}"


def _left_threads(before: set[threading.Thread], within: float) -> list[threading.Thread]:
    def left(until: float) -> list[threading.Thread]:
        threads = [
            thread
            for thread in threading.enumerate()
            if thread not in before and not thread.name.startswith(OF_THE_PROCESS)
        ]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return [thread for thread in threads if thread.is_alive()]

    began_at = time.monotonic()
    if left(began_at + within * AT_ONCE):
        gc.collect()  # a thread whose owner is garbage ends with its owner
    return left(began_at + within)


def _command(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    return str(process)
