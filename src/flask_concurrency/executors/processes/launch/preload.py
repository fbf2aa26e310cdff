"""Decide what is done once in a process before workers begin in it. Knows no channel, no task."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from multiprocessing import resource_tracker
from typing import Any

from flask_concurrency.executors.processes.main_script import MainScript, load_main
from flask_concurrency.executors.processes.worker.log_relay import RelayHandler
from flask_concurrency.executors.processes.worker.task_context import prepare_task_context


class PreloadFailed(Exception):
    """A module of ``preload`` cannot be imported where workers begin."""


def take_log(config: dict[str, Any]) -> RelayHandler | None:
    """Send what this process logs to its owner: from now on, for modules log while imported."""
    if config["log"] is None:
        return None
    os.set_inheritable(config["log"], False)
    handler = RelayHandler(socket.socket(fileno=config["log"]))
    logging.root.addHandler(handler)
    return handler


def take_tracker(config: dict[str, Any]) -> None:
    """Use the owner's resource tracker, as ``multiprocessing.spawn`` does."""
    if config["tracker"] is not None:
        os.set_inheritable(config["tracker"], False)
        resource_tracker._resource_tracker._fd = config["tracker"]  # type: ignore[attr-defined]


def preload(config: dict[str, Any]) -> None:
    """Import modules, and ask what to put around each task."""
    for module in config["preload"]:
        try:
            if module != "__main__":
                importlib.import_module(module)
            elif config["main"] is not None:
                load_main(MainScript(*config["main"]))
        except BaseException as error:  # sys.exit(), too
            raise PreloadFailed(
                f"importing {module!r} in a worker failed: {type(error).__name__}: {error}"
            ) from error
    pickled = config["task_context"]
    prepare_task_context(None if pickled is None else bytes.fromhex(pickled))
