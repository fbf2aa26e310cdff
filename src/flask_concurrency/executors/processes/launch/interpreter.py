"""Decide how a fresh interpreter is started. Knows nothing of what it will do.

It gets the owner's module search path before it imports anything of ours or the application's,
none of the owner's descriptors but those named (a server's listening sockets may be inheritable),
and a process group of its own, so that Ctrl-C in the owner's terminal does not reach it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.spawn import get_executable
from typing import Any

from flask_concurrency.executors.processes.worker.setup import search_path
from flask_concurrency.vocabulary.errors import WorkerStartFailed

_BOOT = (
    # Else Python 3.11 warns whenever it names this module in a message, which pickle does.
    "__loader__ = None; "
    "import json, sys; config = json.loads(sys.stdin.readline()); "
    "sys.path[:] = config['path']; sys.argv[:] = config['argv']; import importlib; "
    "importlib.import_module(config['module']).main(config)"
)


def start_interpreter(
    module: str, config: dict[str, Any], *, label: str, fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start an interpreter that calls ``main(config)`` of ``module``.

    :param config: What can be written as JSON; ``path``, ``argv`` and ``module`` are added.
    :param label: An argument it ignores, for the output of ``ps``.
    :param fds: Descriptors it inherits, under the same numbers. POSIX only.
    :returns: The process; the write end of its standard input is still open.
    :raises WorkerStartFailed: There is no interpreter, or it cannot be started.
    """
    executable = get_executable()  # what multiprocessing.set_executable() was given
    if not executable:
        raise WorkerStartFailed(
            "No worker process can be started: sys.executable is empty. Name the Python "
            "interpreter with multiprocessing.set_executable()."
        )
    here = {"module": module, "path": search_path(), "argv": [str(word) for word in sys.argv]}
    line = json.dumps({**config, **here}) + "\n"
    if os.name == "posix":
        apart: dict[str, Any] = {"process_group": 0, "pass_fds": tuple(fds)}
    else:
        apart = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    try:
        process = subprocess.Popen(
            [os.fsdecode(executable), *_flags(), "-c", _BOOT, label],
            stdin=subprocess.PIPE,
            **apart,
        )
    except OSError as error:
        raise _not_started(executable, error) from error
    assert process.stdin is not None
    try:
        process.stdin.write(line.encode())
        process.stdin.flush()
    except OSError as error:  # it has ended without reading
        process.kill()
        process.wait()
        with suppress(OSError):
            process.stdin.close()
        raise _not_started(executable, error) from error
    return process


def _not_started(executable: str | bytes, error: OSError) -> WorkerStartFailed:
    return WorkerStartFailed(
        f"No worker process can be started with {os.fsdecode(executable)!r}: {error}. "
        "Is it a Python interpreter, and may this process start another one?"
    )


def _flags() -> list[str]:
    """Repeat the interpreter options that change how code behaves."""
    flags = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    for flag, on in (
        ("-B", sys.flags.dont_write_bytecode),
        ("-E", sys.flags.ignore_environment),
        ("-s", sys.flags.no_user_site),
        ("-S", sys.flags.no_site),
    ):
        flags += [flag] if on else []
    for key, value in sys._xoptions.items():
        flags += ["-X", key if value is True else f"{key}={value}"]
    for warning in sys.warnoptions:
        flags += ["-W", warning]
    return flags
