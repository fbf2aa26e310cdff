"""Decide what is done once in a process before workers begin in it. Knows no channel, no task."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from typing import Any

from flask_concurrency.executors.processes.main_script import MainScript, load_main
from flask_concurrency.executors.processes.worker.log_relay import RelayHandler
from flask_concurrency.executors.processes.worker.task_context import prepare_around


def take_log(config: dict[str, Any]) -> RelayHandler | None:
    """Send what this process logs to its owner: from now on, for modules log while imported."""
    if config["log"] is None:
        return None
    os.set_inheritable(config["log"], False)
    handler = RelayHandler(socket.socket(fileno=config["log"]))
    logging.root.addHandler(handler)
    return handler


def preload(config: dict[str, Any]) -> None:
    """Import modules, and ask what to put around each task."""
    for module in config["preload"]:
        if module != "__main__":
            importlib.import_module(module)
        elif config["main"] is not None:
            load_main(MainScript(*config["main"]))
    around = config["around"]
    prepare_around(None if around is None else bytes.fromhex(around))
