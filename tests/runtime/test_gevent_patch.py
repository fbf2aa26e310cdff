"""Threads that gevent replaces too late are refused where work begins, not left to hang."""

from __future__ import annotations

import asyncio
import subprocess
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


LATE = """
import sys
from flask import Flask
from flask_concurrency import Concurrency, ConfigurationError

app = Flask("shop")
app.testing = True
concurrency = Concurrency(app, store="memory://")

@app.get("/")
def index():
    return str(concurrency.threads.submit(abs, -1).result())

from gevent import monkey
monkey.patch_all()
try:
    app.test_client().get("/")
except ConfigurationError as error:
    sys.exit(0 if "patch_all() before any other import" in str(error) else str(error))
sys.exit("it was not refused")
"""


@pytest.mark.slow
def test_an_app_that_was_imported_before_the_patch_is_refused() -> None:
    """What the library loads only at its first use is loaded too late, too."""
    ran = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
