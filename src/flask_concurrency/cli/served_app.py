"""Load the app in a worker process, and have the worker end on every signal to stop.

Knows Flask's loader and signals; knows no server and no limit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterable
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from flask import Flask
from flask.cli import ScriptInfo

from flask_concurrency.asgi.interface import AsgiApplication
from flask_concurrency.cli.chosen_app import asgi_app_of
from flask_concurrency.runtime.drain import begin_drains

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
WAKE_EVERY = 0.25
"""Seconds between one wake-up of a main thread that is to stop and the next."""


def load_app(import_path: str | None, graceful_timeout: float) -> Flask:
    """Load the app as the ``flask`` command did.

    :param import_path: What Flask's loader is given; ``None`` leaves it to its search.
    :param graceful_timeout: Seconds that requests in flight get once the worker is to stop.
    """
    server = multiprocessing.parent_process()
    if server is None or os.name != "posix":  # a free-threaded Python's workers are threads
        return ScriptInfo(app_import_path=import_path).load_app()
    # A terminal sends Ctrl-C to a whole group. A granian worker that gets it beside the main
    # process's SIGTERM may never stop, and one that gets it again blocks all its requests.
    os.setpgrp()
    # A forked worker starts with the main process's handlers, which would swallow a stop that
    # comes while the app is being loaded.
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    app = ScriptInfo(app_import_path=import_path).load_app()
    app.wsgi_app = WithoutEmptyHost(app.wsgi_app)  # type: ignore[method-assign]
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda number, frame: None)
    threading.Thread(
        target=_end_when_told,
        args=(server.sentinel, told, graceful_timeout),
        name="end-when-told",
        daemon=True,
    ).start()
    return app


class WithoutEmptyHost:
    """Takes an empty ``Host`` for none: granian (2.8) adds one to an HTTP/1.0 request without."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request: WSGI."""
        if environ.get("HTTP_HOST") == "":
            del environ["HTTP_HOST"]
        return self._wsgi_app(environ, start_response)


def load_asgi_app(import_path: str | None, graceful_timeout: float) -> AsgiApplication:
    """Load the app as the ``flask`` command did, and make its ASGI application.

    :raises click.ClickException: The app does not use the extension.
    """
    return asgi_app_of(load_app(import_path, graceful_timeout))


def _end_when_told(server: int, told: socket.socket, graceful_timeout: float) -> None:
    """End this process on a signal to stop, or when the server's main process is gone.

    A main process that was killed sends no signal, though its workers would keep the port.

    And a worker's main thread can miss a signal: the handler runs there, but the signal may
    interrupt another thread, mostly if it comes together with a connection while a request is in
    flight. The worker would go on serving until it is killed with whatever is then in flight. So
    the main thread is woken, by a signal that means nothing, until it has run its handlers.

    :param server: Becomes readable when the main process ends.
    :param told: Receives the number of every signal that has a handler.
    """
    while True:
        ready = wait([server, told])
        if server in ready:
            os.kill(os.getpid(), signal.SIGTERM)
        if server in ready or STOPS & set(told.recv(64)):
            break
    begin_drains()  # streams that would go on for ever
    main_thread = threading.main_thread().ident or 0
    for _ in range(max(1, round(graceful_timeout / WAKE_EVERY))):
        signal.pthread_kill(main_thread, signal.SIGURG)
        time.sleep(WAKE_EVERY)
    os._exit(1)
