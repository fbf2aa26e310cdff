"""Let an app's tasks run inline in tests: no threads, no processes, no waiting.

Knows where an app keeps its executors; knows no test runner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flask import Flask

from flask_concurrency.executors.named_executors import NamedExecutors
from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.declarations.unused import EXTENSION
from flask_concurrency.testing.inline_executor import InlineExecutor


@contextmanager
def inline_executors(app: Flask) -> Iterator[None]:
    """Run each task of ``threads`` and ``processes`` when it is submitted, where it is submitted.

    Task groups and executors that are named after them do so, too. Functions, arguments and results
    of ``processes`` go through :mod:`pickle` all the same, so what real workers would refuse is
    refused.

    :param app: The app, after ``init_app``.
    """
    state: AppState = app.extensions[EXTENSION]
    before = state.executors
    threads: Any = InlineExecutor("threads")
    processes: Any = InlineExecutor("processes", pickles=True)
    named = NamedExecutors(
        {"threads": threads, "processes": processes},
        added=before.named.meanings(),
    )
    state.executors = replace(before, threads=threads, processes=processes, named=named)
    try:
        yield
    finally:
        state.executors = before
