"""Serve on granian; the one file that needs the extra ``serve``. Knows no app and no limit.

Runs as a program of its own: the ``flask`` command becomes it, so the main process holds nothing
of the app, and each worker loads the app afresh.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from flask_concurrency.cli.job_worker_process import JobWorkerProcess
from flask_concurrency.cli.reload import reload_on_change
from flask_concurrency.cli.served_app import load_app, load_asgi_app
from flask_concurrency.cli.server_options import BACKLOG, ServerOptions
from flask_concurrency.flask_app.settings import POOL, SERVED_WITH


def become_server(options: ServerOptions) -> NoReturn:
    """Turn this process into the server's main process."""
    # -P keeps the current directory out of the import path, where a project's own calendar.py or
    # http.py would be taken for the standard library's; Flask's loader adds the app's directory.
    command = [sys.executable, "-P", "-m", __name__, json.dumps(asdict(options))]
    sys.stdout.flush()
    if os.name == "nt":  # there exec would give the terminal back at once
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)


def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP replaces the workers one by one."""
    os.environ[SERVED_WITH] = str(options.threads)  # so that some of them never wait for a permit
    if options.import_path is not None:
        os.environ["FLASK_APP"] = options.import_path  # as what worker processes of tasks find it
    if options.asgi:
        os.environ[POOL] = str(options.threads)  # there they are the app's, not the server's
    server = Granian(
        target=options.import_path or "the app Flask finds",
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGI if options.asgi else Interfaces.WSGI,
        websockets=options.asgi,
        workers=options.workers,
        blocking_threads=None if options.asgi else options.threads,
        backlog=BACKLOG,
        respawn_failed_workers=True,
        workers_kill_timeout=options.graceful_timeout,
        uds=None if options.uds is None else Path(options.uds),
        log_level=LogLevels(options.log_level),
        log_access=options.access_log,
    )
    # It advises against more threads than 2 x CPUs + 1, which is right for views that compute.
    logging.getLogger("_granian").addFilter(
        lambda record: "Python threads" not in record.getMessage()
    )

    told: list[int] = []

    @server.on_startup
    def remember_being_told() -> None:
        before: Any = signal.getsignal(signal.SIGTERM)  # the same as of SIGINT

        def end(signum: int, frame: object) -> None:
            told.append(signum)
            before(signum, frame)

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)

    jobs = JobWorkerProcess(options.import_path, options.graceful_timeout)

    @server.on_startup
    def keep_job_worker() -> None:
        if not options.runs_jobs:
            return
        jobs.start()
        if hasattr(signal, "SIGHUP"):
            replace_workers: Any = signal.getsignal(signal.SIGHUP)

            def replace_all(signum: int, frame: object) -> None:
                jobs.renew()
                replace_workers(signum, frame)

            signal.signal(signal.SIGHUP, replace_all)

    @server.on_startup
    def watch_files() -> None:
        if options.reload is not None and hasattr(signal, "SIGHUP"):
            replace_workers: Any = signal.getsignal(signal.SIGHUP)
            reload_on_change(Path(options.reload), lambda: replace_workers(signal.SIGHUP, None))

    @server.on_startup
    def stop_with_the_terminal() -> None:
        if hasattr(signal, "SIGHUP") and sys.stdin is not None and sys.stdin.isatty():
            signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))

    load = load_asgi_app if options.asgi else load_app
    try:
        server.serve(
            target_loader=partial(load, options.import_path, options.graceful_timeout),
            wrap_loader=False,
        )
    except SystemExit:
        # A worker that got the signal, too, as by systemd, and was quicker, looks to granian
        # like one that failed.
        if not told:
            raise
    finally:
        jobs.end()


if __name__ == "__main__":
    serve(ServerOptions(**json.loads(sys.argv[1])))
