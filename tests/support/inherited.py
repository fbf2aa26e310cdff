"""Modules that open, start or draw something when they are imported; see ``test_…_inherited``."""

from __future__ import annotations

import os
import random
import socket
import tempfile
import threading

import flask_concurrency

WHAT = os.environ.get("INHERITED", "")

if WHAT == "thread":
    threading.Thread(target=threading.Event().wait, name="scheduler", daemon=True).start()
elif WHAT == "socket":
    listener = socket.create_server(("127.0.0.1", 0))
elif WHAT == "file":
    opened = open(__file__)  # noqa: SIM115 # that it stays open is the point
elif WHAT == "guarded" and not flask_concurrency.in_worker():
    threading.Thread(target=threading.Event().wait, name="scheduler", daemon=True).start()
elif WHAT == "failure":
    raise OSError("no such disk")
elif WHAT == "log":
    log = open(  # noqa: SIM115
        os.path.join(tempfile.gettempdir(), f"inherited-{os.getpid()}.log"), "a"
    )


def draw(_: int = 0) -> tuple[float, float]:
    import numpy

    return float(numpy.random.random()), random.random()


def process_ids() -> tuple[int, int]:
    return os.getpid(), os.getppid()
