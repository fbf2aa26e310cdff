"""For every test: their order, and real servers on loopback. Knows no app and no limit."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from weakref import WeakKeyDictionary, WeakSet

import pytest
from flask import Flask

from flask_concurrency import Concurrency, watch_signals
from flask_concurrency.runtime import drain
from leak_detector import LeakDetector

ROOT = Path(__file__).parent.parent
STARTS_WITHIN = 30.0
STOPS_WITHIN = 15.0
SIGNALS = [signal.SIGINT, signal.SIGTERM]
SIGNALS += [getattr(signal, name) for name in ("SIGHUP", "SIGCHLD") if hasattr(signal, name)]

FAILED = pytest.StashKey[bool]()

Serve = Callable[..., str]

WAITRESS = "import sys; sys.path.insert(0, sys.argv.pop(1)); from waitress.runner import run; run()"
"""Waitress has no option that says where the app is."""


def command(
    server: str, app: str, *, directory: Path, port: int, workers: int, threads: int
) -> list[str]:
    """What starts ``app`` on one of the servers the library is tested on."""
    gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--log-level=warning"]
    gunicorn += [f"--chdir={directory}", f"--bind=127.0.0.1:{port}", f"--workers={workers}"]
    granian = [sys.executable, "-m", "granian", "--interface=wsgi", "--log-level=warning"]
    granian += [f"--working-dir={directory}", "--host=127.0.0.1", f"--port={port}"]
    granian += [
        f"--workers={workers}",
        f"--blocking-threads={threads}",
        "--workers-kill-timeout=5s",
        "--respawn-failed-workers",
    ]
    asgi = f"{app.partition(':')[0]}:asgi"
    python = [sys.executable, "-m"]
    here = [f"--app-dir={directory}", "--host=127.0.0.1", f"--port={port}"]
    gunicorn_asgi = [*gunicorn, "--worker-class=asgi", "--graceful-timeout=5", asgi]
    return {
        "werkzeug": [
            *[*python, "flask", f"--app={directory}/{app}", "run", "--no-reload"],
            f"--port={port}",
        ],
        "uvicorn": [*python, "uvicorn", *here, "--log-level=warning", asgi],
        "hypercorn": [*python, "hypercorn", f"--bind=127.0.0.1:{port}", f"{directory}/{asgi}"],
        "granian-asgi": [
            *[part.replace("wsgi", "asgi") for part in granian if "blocking" not in part],
            asgi,
        ],
        "gunicorn-asgi": gunicorn_asgi,
        "gunicorn-sync": [*gunicorn, "--worker-class=sync", app],
        "gunicorn-gthread": [*gunicorn, "--worker-class=gthread", f"--threads={threads}", app],
        "gunicorn-gevent": [*gunicorn, "--worker-class=gevent", app],
        "granian": [*granian, app],
        "waitress": [
            *[sys.executable, "-c", WAITRESS, str(directory)],
            *[f"--listen=127.0.0.1:{port}", f"--threads={threads}", app],
        ],
    }[server]


def pytest_configure(config: pytest.Config) -> None:
    """Enable Ctrl+C in the processes that share the tests, which begin without."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none runs alone at the end.

    Only where processes share them: one alone shows most mistakes in the order of collection.
    """
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: slow[item.path], reverse=True)


def pytest_collection_finish() -> None:
    """Leave what is there now out of each search for garbage: with it, one takes 0.2 s."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Find all again: Hypothesis, which its plug-in may import only now, asks what refers to it."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that a test has failed."""
    item.stash[FAILED] = call.excinfo is not None
    return (yield)


@pytest.fixture(autouse=True)
def failures_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a failed test's frames with it: what they hold open would be told of a later test."""
    yield
    if request.node.stash.get(FAILED, False):
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)  # kept for a debugger
        gc.collect()


@pytest.fixture(autouse=True)
def loggers_as_made() -> None:
    """Let each test find our loggers as they are made, whatever a library did to all there are."""
    for name, ours in list(logging.root.manager.loggerDict.items()):
        if name.startswith("flask_concurrency") and isinstance(ours, logging.Logger):
            ours.disabled, ours.propagate = False, True
            ours.setLevel(logging.NOTSET)
            ours.handlers.clear()
            ours.filters.clear()
    logging.root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def leak_detector() -> Iterator[LeakDetector]:
    """What follows each permit and each context of an app through all tests."""
    detector = LeakDetector()
    with pytest.MonkeyPatch.context() as patch:
        detector.watch(patch)
        yield detector


@pytest.fixture(autouse=True)
def no_leaks(
    failures_end: None, loggers_as_made: None, leak_detector: LeakDetector
) -> Iterator[None]:
    """Let no test leave permits, contexts, threads, processes or changed loggers behind."""
    with leak_detector.no_leaks():
        yield


@pytest.fixture(autouse=True)
def executors_end(no_leaks: None) -> Iterator[None]:
    """Shut down the executors of each app that a test made, so that only leaks are left."""
    apps: WeakSet[Flask] = WeakSet()
    init_app = Concurrency.init_app

    @wraps(init_app)
    def noted(concurrency: Concurrency, app: Flask) -> None:
        init_app(concurrency, app)
        apps.add(app)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Concurrency, "init_app", noted)
        yield
    for app in list(apps):
        executors = app.extensions["concurrency"].executors
        for executor in (executors.threads, executors.sockets, executors.processes):
            executor.shutdown(cancel_futures=True)
        assert executors.loop.shutdown(timeout=5.0)


@pytest.fixture(autouse=True)
def runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let no test see what another one counted in the store of this host."""
    directory = tmp_path_factory.mktemp("runtime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        yield directory


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Let no test change what a signal does to those after it.

    Each test begins as the first stream of a process does, which watches for the end, and no app
    that an earlier test served delays that.
    """
    original = {number: signal.getsignal(number) for number in SIGNALS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drain, "_delays", WeakKeyDictionary())
        watch_signals()
        before = {number: signal.getsignal(number) for number in SIGNALS}
        yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    for number, handler in original.items():
        signal.signal(number, handler)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve an app for the length of a test.

    ``serve(app, server, workers=1, threads=4)`` starts ``app``, a path from the root such as
    ``"examples/tutorial/chapter1_limits"``, on ``"gunicorn-sync"``, ``"gunicorn-gthread"`` or
    ``"granian"``, and gives its URL once it answers.
    """
    with ExitStack() as running:

        def start(app: str, server: str, *, workers: int = 1, threads: int = 4) -> str:
            return running.enter_context(
                _served(app, server, workers=workers, threads=threads, scratch=tmp_path)
            )

        yield start


@pytest.fixture(scope="module")
def serve_all(
    tmp_path_factory: pytest.TempPathFactory, leak_detector: LeakDetector
) -> Iterator[Serve]:
    """As ``serve``, for the length of a module: its tests share their servers.

    On ``"uvicorn"``, ``"hypercorn"``, ``"granian-asgi"`` and ``"gunicorn-asgi"``, which serve what
    the app's module calls ``asgi``, too.
    """
    scratch = tmp_path_factory.mktemp("served")
    with ExitStack() as running:
        started: dict[tuple[str, str], str] = {}

        def start(app: str, server: str) -> str:
            if (app, server) not in started:
                started[app, server] = running.enter_context(
                    _served(
                        app,
                        server,
                        workers=1,
                        threads=4,
                        scratch=scratch,
                        note=leak_detector.kept.add,
                    )
                )
            return started[app, server]

        yield start


@contextmanager
def _served(
    app: str,
    server: str,
    *,
    workers: int,
    threads: int,
    scratch: Path,
    note: Callable[[int], object] = lambda process: None,
) -> Iterator[str]:
    directory, module = _importable(ROOT / app)
    port = _free_port()
    log = scratch / f"{server}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(
                server,
                f"{module}:app",
                directory=directory,
                port=port,
                workers=workers,
                threads=threads,
            ),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch), "XDG_RUNTIME_DIR": str(scratch)},
            start_new_session=True,
        )
    note(process.pid)
    try:
        _wait_until_it_listens(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def _importable(path: Path) -> tuple[Path, str]:
    """Where to import a module from, and by what name, as ``flask --app`` does."""
    directory, names = path.parent, [path.name]
    while (directory / "__init__.py").exists():
        names.insert(0, directory.name)
        directory = directory.parent
    return directory, ".".join(names)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)  # a foreign process cannot notify us when it begins to listen
        else:
            return
    pytest.fail(f"{process.args!r} did not start:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{process.args!r} did not stop within {STOPS_WITHIN} s of SIGTERM.")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever it left behind
