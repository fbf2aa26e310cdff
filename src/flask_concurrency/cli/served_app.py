"""Load the app in a worker process, and let the worker end when it should.

Knows Flask's loader and signals; knows no server and no limit.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import wait

from flask import Flask
from flask.cli import ScriptInfo


def load_app(import_path: str | None, graceful_timeout: float) -> Flask:
    """Load the app as the ``flask`` command did.

    :param import_path: What Flask's loader is given; ``None`` leaves it to its search.
    :param graceful_timeout: Seconds that requests in flight get if the main process is gone.
    """
    main = multiprocessing.parent_process()
    if main is not None:  # on free-threaded Python workers are threads of the main process
        # A forked worker starts with the main process's handlers, which would swallow a stop that
        # comes while the app is being loaded.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if hasattr(os, "setpgrp"):
            # A terminal sends Ctrl-C to the main process's whole group. A granian worker that gets
            # SIGINT and, at the same moment, the main process's SIGTERM hangs until it is killed.
            os.setpgrp()
        threading.Thread(
            target=_end_with,
            args=(main.sentinel, graceful_timeout),
            name="end-with-main",
            daemon=True,
        ).start()
    return ScriptInfo(app_import_path=import_path).load_app()


def _end_with(main: int, graceful_timeout: float) -> None:
    """Stop once the main process was killed: nobody else would, and the port would stay taken.

    :param main: What becomes readable at its death.
    """
    wait([main])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(graceful_timeout)
    os._exit(1)
