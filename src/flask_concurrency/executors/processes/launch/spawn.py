"""Decide how a worker begins that was started as a fresh interpreter. Knows no task."""

from __future__ import annotations

import os
import socket
import sys
import threading
from functools import partial
from typing import Any

from flask_concurrency.executors.processes.is_worker import mark_worker
from flask_concurrency.executors.processes.launch.preload import preload, take_log, take_tracker
from flask_concurrency.executors.processes.wire import Channel
from flask_concurrency.executors.processes.worker import main as worker_process
from flask_concurrency.executors.processes.worker.process_state import (
    detach_stdin,
    let_stop_signals_pass,
)


def main(config: dict[str, Any]) -> None:
    """Be a worker until the owner closes the channel, or ends."""
    mark_worker()
    let_stop_signals_pass()
    channel = Channel(_take_end(config))
    owner = detach_stdin()
    threading.Thread(target=_end_with, args=(owner,), name="owner-watch", daemon=True).start()

    handler = take_log(config)
    take_tracker(config)
    worker_process.main(channel, handler, prepare=partial(preload, config))


def _take_end(config: dict[str, Any]) -> socket.socket:
    if "end" in config:
        os.set_inheritable(config["end"], False)
        return socket.socket(fileno=config["end"])
    shared = bytes.fromhex(sys.stdin.readline())  # Windows
    end: socket.socket = getattr(socket, "fromshare")(shared)  # noqa: B009 # absent elsewhere
    return end


def _end_with(owner: int) -> None:
    """End this process at once when its owner has ended: no caller waits for its task any more."""
    while os.read(owner, 4096):
        pass
    os._exit(1)
