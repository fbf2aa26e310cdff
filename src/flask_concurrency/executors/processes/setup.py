"""Decide what a worker takes over from its owner before its first task. Knows no channel."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from flask_concurrency.executors.processes.call import cannot_pickle, name_of
from flask_concurrency.executors.processes.launch.interpreter import search_path
from flask_concurrency.executors.processes.log_relay import levels_here
from flask_concurrency.executors.processes.main_script import MainScript, find_main, loads
from flask_concurrency.executors.processes.memory_cap import MemoryCap
from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.vocabulary.errors import TaskNotPicklable


@dataclass(frozen=True)
class Setup:
    """What the owner was like when it started the worker.

    :ivar main: Where the owner's ``__main__`` can be imported from, should a task need it.
    :ivar initializer: Pickled function and arguments; to be unpickled once ``path`` is in place.
    :ivar shares_memory: Large results may come back in shared memory.
    :ivar max_memory: Bytes of memory that tasks may take.
    :ivar name: What the worker is called in what it logs.
    :ivar levels: At which levels the owner's loggers stood.
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

    @cached_property
    def cap(self) -> MemoryCap:
        """The limit of memory of this process."""
        return MemoryCap(self.max_memory)

    def enter(self) -> None:
        """Take over module search path, working directory and command line."""
        sys.path[:] = self.path
        sys.argv[:] = self.argv
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
