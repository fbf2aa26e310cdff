"""Decide which executor a name means: one of ours, one that was added, or another name's.

Makes one that is given as a factory when it is first asked for, once in each process. Knows no
task and no Flask.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from difflib import get_close_matches
from typing import Any

from flask_concurrency.executors.context import Carrier, capture_context
from flask_concurrency.executors.foreign_executor import ForeignExecutor
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.task_end import OnTaskEnd
from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.executor_names import Meaning


class NamedExecutors:
    """The executors of one app, by name.

    :param ours: Those that every app has.
    :param added: Names that the code has given; later additions are seen.
    :param configured: Names that the configuration has given, which win.
    :param carry: Captures what a task takes along to a foreign pool of threads.
    :param on_first_use: Called when one that is not ours is made, in each process.
    :param on_task_end: Gives what is told how the tasks of a name ended.
    """

    def __init__(
        self,
        ours: Mapping[str, Executor],
        *,
        added: Mapping[str, Meaning] | None = None,
        configured: Mapping[str, Meaning] | None = None,
        carry: Carrier = capture_context,
        on_first_use: Callable[[], object] = lambda: None,
        on_task_end: Callable[[str], OnTaskEnd | None] = lambda name: None,
    ) -> None:
        self._on_first_use = on_first_use
        self._on_task_end = on_task_end
        self._ours = ours
        self._added = {} if added is None else added
        self._configured = {} if configured is None else configured
        self._carry = carry
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a factory may ask for another executor
        self._found: dict[str, Executor] = {}

    def get(self, name: str) -> Executor:
        """The executor of that name.

        :raises ConfigurationError: There is none, a name stands for itself, or a factory made
            something else.
        """
        if self._pid != os.getpid():
            self._begin()  # in a forked child the threads of what a factory made do not run
        found = self._found.get(name)
        return found if found is not None else self._find(name)

    def meanings(self) -> dict[str, Meaning]:
        """What all names but our own stand for."""
        return {**self._added, **self._configured}

    def made(self) -> Mapping[str, Executor]:
        """Those that are not ours and were asked for in this process, each by its own name."""
        if self._pid != os.getpid():
            return {}
        with self._lock:
            ours = set(self._ours.values())
            return {
                name: found
                for name, found in self._found.items()
                if found not in ours and not isinstance(self._meaning(name, asked=name), str)
            }

    def _find(self, name: str) -> Executor:
        path = [name]
        while isinstance(meaning := self._meaning(path[-1], asked=name), str):
            if meaning in path:
                path.append(meaning)
                raise ConfigurationError(
                    f"Executor {name!r} stands for itself: {' -> '.join(map(repr, path))}."
                )
            path.append(meaning)
        target = path[-1]
        with self._lock:
            found = self._found.get(target)
            if found is None:
                found = self._found[target] = self._fitted(target, meaning)
            self._found[name] = found
        return found

    def _meaning(self, name: str, *, asked: str) -> Meaning:
        for names in (self._ours, self._configured, self._added):
            if name in names:
                return names[name]
        if name == "loop":
            raise ConfigurationError(
                "The event loop is no Executor: use concurrency.loop, or group.loop."
            )
        raise ConfigurationError(self._unknown(name, asked))

    def _unknown(self, name: str, asked: str) -> str:
        known = sorted({*self._ours, *self._configured, *self._added})
        close = get_close_matches(str(name), known, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        of = "" if name == asked else f", which {asked!r} stands for"
        return (
            f"There is no executor {name!r}{of}. {hint}Known are {', '.join(map(repr, known))}; "
            f"add one with concurrency.add_executor({name!r}, executor)."
        )

    def _fitted(self, name: str, meaning: Any) -> Executor:
        executor = meaning if isinstance(meaning, Executor) else meaning()
        if executor not in self._ours.values():
            self._on_first_use()
        if not isinstance(executor, Executor):
            raise ConfigurationError(
                f"The factory of executor {name!r} made {executor!r}, which is no "
                "concurrent.futures.Executor."
            )
        if isinstance(executor, ThreadExecutor | ProcessExecutor | ForeignExecutor):
            return executor  # it knows deadlines by itself
        return ForeignExecutor(
            name, executor, carry=self._carry, on_task_end=self._on_task_end(name)
        )
