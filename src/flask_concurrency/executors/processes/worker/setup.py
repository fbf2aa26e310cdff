"""Decide what a worker takes over from its owner before its first task. Knows no channel."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from flask_concurrency.executors.processes.main_script import MainScript, loads
from flask_concurrency.executors.processes.worker.memory_cap import MemoryCap


@dataclass(frozen=True)
class Setup:
    """What the owner was like when it started the worker.

    :ivar main: Where the owner's ``__main__`` can be imported from, should a task need it.
    :ivar initializer: Pickled function and arguments; to be unpickled once ``path`` is in place.
    :ivar shares_memory: Large results may come back in shared memory.
    :ivar max_memory: Bytes of memory that tasks may take.
    :ivar name: What the worker is called in what it logs.
    :ivar levels: At which levels the owner's loggers stood.
    :ivar authkey: What its processes know one another by, such as a ``multiprocessing.Manager``.
    """

    path: list[str]
    directory: str | None
    argv: list[str]
    main: MainScript | None
    initializer: bytes | None
    shares_memory: bool
    max_memory: int | None
    name: str
    levels: dict[str | None, int]
    authkey: bytes

    @cached_property
    def cap(self) -> MemoryCap:
        """The limit of memory of this process."""
        return MemoryCap(self.max_memory)

    def enter(self) -> None:
        """Take over module search path, working directory and command line."""
        sys.path[:] = self.path
        sys.argv[:] = self.argv
        multiprocessing.current_process().authkey = self.authkey
        if self.directory is not None:
            with suppress(OSError):  # it may have been removed; the task will say if it minds
                os.chdir(self.directory)

    def initialize(self) -> None:
        """Limit the memory, and call the initializer."""
        self.cap.impose()
        if self.initializer is None:
            return
        function, arguments = loads(self.initializer, self.main)
        function(*arguments)


def search_path() -> list[str]:
    """Return ``sys.path`` with the working directory written out, and what Python reads of it."""
    return [
        os.path.abspath(entry) if entry == "" else entry
        for entry in sys.path
        if isinstance(entry, str)  # some append a Path, which no import looks at
    ]
