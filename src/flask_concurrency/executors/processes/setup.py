"""Decide what a worker takes over from its owner before its first task. Knows no channel."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask_concurrency.executors.processes.call import cannot_pickle, name_of
from flask_concurrency.executors.processes.launch.interpreter import search_path
from flask_concurrency.executors.processes.main_script import MainScript, find_main, loads
from flask_concurrency.vocabulary.errors import TaskNotPicklable


@dataclass(frozen=True, slots=True)
class Setup:
    """What the owner was like when it started the worker.

    :ivar main: Where the owner's ``__main__`` can be imported from, should a task need it.
    :ivar initializer: Pickled function and arguments; to be unpickled once ``path`` is in place.
    :ivar shares_memory: Large results may come back in shared memory.
    """

    path: list[str]
    directory: str | None
    argv: list[str]
    main: MainScript | None
    initializer: bytes | None
    shares_memory: bool

    def enter(self) -> None:
        """Take over module search path, working directory and command line."""
        sys.path[:] = self.path
        sys.argv[:] = self.argv
        if self.directory is not None:
            with suppress(OSError):  # it may have been removed; the task will say if it minds
                os.chdir(self.directory)

    def initialize(self) -> None:
        """Call the initializer."""
        if self.initializer is None:
            return
        function, arguments = loads(self.initializer, self.main)
        function(*arguments)


def make_setup(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...], *, shares_memory: bool
) -> bytes:
    """Describe this process to a worker.

    :raises TaskNotPicklable: The initializer or its arguments cannot be pickled.
    """
    pickled = None
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
    setup = Setup(search_path(), directory, list(sys.argv), find_main(), pickled, shares_memory)
    return pickle.dumps(setup, pickle.HIGHEST_PROTOCOL)
