"""What an app loads before it uses it: nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flask_concurrency

OF_WHAT_IS_NOT_USED = (
    "asyncio",
    "ctypes",
    "flask_concurrency.asgi.application",
    "flask_concurrency.asgi.on_loop",
    "flask_concurrency.asgi.on_thread",
    "flask_concurrency.asgi.websocket",
    "flask_concurrency.cli",
    "flask_concurrency.executors",
    "flask_concurrency.exporters",
    "flask_concurrency.stores.redis.client",
    "flask_concurrency.stores.redis.redis_store",
    "flask_concurrency.streams",
    "flask_cors",
    "greenlet",
    "multiprocessing",
    "prometheus_client",
    "redis",
    "simple_websocket",
    "subprocess",
)
"""Prefixes of modules that an app with one limit on plain views does not need."""

ONE_LIMIT = """
import sys
import flask
before = set(sys.modules)
from flask_concurrency import Concurrency

app = flask.Flask("shop")
app.config["CONCURRENCY_STORE"] = "memory://"
concurrency = Concurrency(app, default_limits="2/minute")

@app.get("/")
def index():
    return "Hello"

client = app.test_client()
assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]
"""

SHOW = """
print(*sorted(set(sys.modules) - before))
"""


def loaded_by(program: str) -> list[str]:
    """The modules beyond Flask's that a program has loaded at its end."""
    run = subprocess.run(
        [sys.executable, "-c", program + SHOW], capture_output=True, text=True, check=True
    )
    return run.stdout.split()


def unused(loaded: list[str]) -> list[str]:
    """Which of them belong to what is not used."""
    return [
        module
        for module in loaded
        if any(module == each or module.startswith(each + ".") for each in OF_WHAT_IS_NOT_USED)
    ]


def test_an_app_with_one_limit_loads_neither_executors_nor_asgi_nor_cors() -> None:
    """Requests that only count load what counts."""
    assert unused(loaded_by(ONE_LIMIT)) == []


@pytest.mark.parametrize(
    ("use", "loads"),
    [
        ("concurrency.threads", "flask_concurrency.executors.threads"),
        ("concurrency.asgi_app(app)", "flask_concurrency.asgi.application"),
        ("concurrency.cors(app, origins='*')", "flask_cors"),
        ("from flask_concurrency import TaskGroup", "flask_concurrency.executors.groups"),
    ],
)
def test_the_first_use_loads_what_is_used(use: str, loads: str) -> None:
    """What is missing at the start is loaded when it is first used."""
    assert loads in loaded_by(
        ONE_LIMIT.replace("client = ", f"with app.app_context(): {use}\nclient = ")
    )


def test_names_of_the_root_are_known_before_they_are_loaded() -> None:
    """``dir()`` and ``hasattr()`` tell every public name."""
    assert set(flask_concurrency.__all__) <= set(dir(flask_concurrency))
    assert not hasattr(flask_concurrency, "Nothing")
