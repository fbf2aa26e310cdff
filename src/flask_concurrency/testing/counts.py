"""Give every app that is tested counts of its own, and a clock that is moved by hand.

Knows where apps keep their stores; knows no test runner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask_concurrency.flask_app.app_state import AppState
from flask_concurrency.flask_app.app_store import AppStore
from flask_concurrency.flask_app.declarations.decorations import served_apps
from flask_concurrency.flask_app.declarations.unused import EXTENSION
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.vocabulary.clock import Clock, monotonic


@contextmanager
def fresh_counts(clock: Clock = monotonic) -> Iterator[None]:
    """Have every app of this process count from zero in the block, in memory, and keep no refusal.

    Apps that are made in the block count there, too, whatever store they name. What was counted
    before goes on afterwards.

    :param clock: What limits count by, such as a :class:`~flask_concurrency.testing.ManualClock`.
    """
    before = AppStore.make_for_tests
    AppStore.make_for_tests = lambda: MemoryStore(clock=clock)
    _forget_plans()
    try:
        yield
    finally:
        AppStore.make_for_tests = before
        _forget_plans()


def _forget_plans() -> None:
    for app in served_apps():
        state: AppState = app.extensions[EXTENSION]
        state.forget_plans()
