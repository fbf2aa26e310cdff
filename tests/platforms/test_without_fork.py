"""The package on a platform without fork, file locks and shared anonymous memory, as Windows."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

ABSENT = """
import os, select, signal, socket, sys

# Everything else has been imported by Python itself where it exists.
for module, names in {
    os: ("fork", "register_at_fork", "memfd_create", "geteuid", "getuid", "killpg", "setsid",
         "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "MFD_CLOEXEC"),
    select: ("epoll", "poll"),
    signal: ("SIGKILL", "SIGHUP", "pthread_sigmask", "setitimer", "SIGUSR1"),
    socket: ("send_fds", "recv_fds"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
"""


def run(program: str) -> str:
    """Run a program where those names are missing, and return what it prints and logs."""
    source = ABSENT + textwrap.dedent(program)
    # Werkzeug and asyncio are imported first: they look at the platform by other means.
    source = "import asyncio, subprocess, multiprocessing.spawn, werkzeug.serving, flask\n" + source
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_module_that_needs_no_other_package_can_be_imported() -> None:
    """What a platform lacks is looked for where it is used, and not when a file is imported."""
    printed = run(
        """
        import importlib, pkgutil, flask_concurrency
        skipped = ("stores.host", "stores.redis", "redis_ledger", "stores.limits_adapter",
                   "websocket_on_wsgi", "status_file", "counter_file", "counter_reader",
                   "launch.forkserver", "cli.granian_server", "celery_engine",
                   "flask_app.dashboard", "telemetry.history", "host_file")
        for found in pkgutil.walk_packages(flask_concurrency.__path__, "flask_concurrency."):
            if not any(part in found.name for part in skipped):
                importlib.import_module(found.name)
        print("imported")
        """
    )
    assert printed.endswith("imported\n")


def test_limits_threads_loop_and_cors_work() -> None:
    """One process counts in its memory, and one line says that it counts alone."""
    printed = run(
        """
        from flask import Flask
        from flask_concurrency import Concurrency
        app = Flask("elsewhere")
        concurrency = Concurrency(app, default_limits="2/minute; 4 in flight")
        concurrency.cors(app, origins="https://shop.example")
        try:
            concurrency.dashboard(app)
        except ValueError as error:
            print(error)

        @app.get("/")
        def index():
            return {"squares": list(concurrency.threads.map(lambda n: n * n, range(4)))}

        @app.get("/async")
        async def asynchronous():
            return str(await concurrency.threads.run(abs, -3))

        client = app.test_client()
        print([client.get("/").status_code for _ in range(3)])
        print(client.get("/async").text)
        print(client.get("/", headers={"Origin": "https://shop.example"}).headers[
            "Access-Control-Allow-Origin"])
        """
    )
    assert "[200, 200, 429]" in printed
    assert "\n3\n" in printed
    assert "https://shop.example" in printed
    assert printed.count("counts in each process by itself") == 1
    assert "platform does not have. Show the counts with concurrency.metrics(app)" in printed


def test_the_app_is_served_natively_on_asgi() -> None:
    """The bridge needs greenlets and a loop, and nothing of the platform."""
    printed = run(
        """
        import asyncio
        from flask import Flask
        from flask_concurrency import Concurrency
        app = Flask("elsewhere")
        concurrency = Concurrency(app, default_limits="9/minute")

        @app.get("/")
        async def index():
            await asyncio.sleep(0)
            return "on the loop"

        served = concurrency.asgi_app(app)

        async def ask():
            sent = []
            async def receive():
                return {"type": "http.request", "body": b"", "more_body": False}
            async def send(message):
                sent.append(message)
            await served({"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1",
                          "method": "GET", "scheme": "http", "path": "/", "raw_path": b"/",
                          "query_string": b"", "root_path": "", "headers": [],
                          "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}, receive, send)
            print(sent[0]["status"], b"".join(m.get("body", b"") for m in sent).decode())

        asyncio.run(ask())
        """
    )
    assert "200 on the loop" in printed


def test_worker_processes_are_started_as_fresh_interpreters() -> None:
    """Without fork there is no forkserver; a crash still costs its own task alone."""
    printed = run(
        """
        from flask_concurrency.executors.processes import ProcessExecutor
        try:
            ProcessExecutor(start_method="forkserver")
        except ValueError as error:
            print(error)
        """
    )
    assert "needs os.fork, which this platform lacks. Use 'spawn'." in printed
