"""Threads that gevent replaces too late are refused where work begins, not left to hang."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pytest

from flask_concurrency import ConfigurationError
from flask_concurrency.executors.loop import LoopThread
from flask_concurrency.executors.processes.executor import ProcessExecutor
from flask_concurrency.executors.threads import ThreadExecutor


@pytest.fixture
def _patched_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkey = SimpleNamespace(is_module_patched=lambda name: name == "threading")
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)


@pytest.mark.usefixtures("_patched_late")
def test_the_first_task_of_each_executor_is_refused() -> None:
    """With what to write."""
    with pytest.raises(ConfigurationError, match=r"Call gevent\.monkey\.patch_all"):
        ThreadExecutor().submit(int)
    with pytest.raises(ConfigurationError, match="post_worker_init"):
        ProcessExecutor().submit(int)
    with pytest.raises(ConfigurationError, match="so tasks would hang"):
        LoopThread().run(asyncio.sleep(0))
