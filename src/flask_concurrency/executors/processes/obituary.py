"""Word the messages about workers that ended or never began. Decides nothing else."""

from __future__ import annotations

import signal

from flask_concurrency.executors.processes.worker_record import WorkerRecord
from flask_concurrency.vocabulary.errors import WorkerDied

_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")


def died(executor: str, worker: WorkerRecord, task: str) -> WorkerDied:
    """Make the error of a task whose worker died."""
    how, remedy = _explain(worker)
    return WorkerDied(
        f"Worker {worker.number} of {executor!r} died while it ran {task!r}: {how}. "
        f"No other task is affected. {remedy}",
        exitcode=worker.exitcode,
    )


def start_failure(worker: WorkerRecord) -> str:
    """Say how a worker ended that never was ready."""
    if worker.lost_because is not None:
        return worker.lost_because
    how, remedy = _explain(worker)
    return f"it ended before it was ready: {how}. {remedy}"


def _explain(worker: WorkerRecord) -> tuple[str, str]:
    code = worker.exitcode
    if worker.killed_because is not None:
        return f"killed, because {worker.killed_because}", "Submit the task again if it may."
    if worker.lost_because is not None:
        return f"no more is known of it, because {worker.lost_because}", ""
    if code is None:
        return "how is not known", "Its forkserver may hang."
    if code >= 0:
        return (
            f"it ended with exit code {code}",
            "Something in it called os._exit(); return from the task instead.",
        )
    name = _signal_name(-code)
    if name == "SIGKILL":
        return (
            f"killed by {name}",
            "If the machine ran out of memory, give a task less at once or use fewer workers.",
        )
    if name in _CRASHES:
        return (
            f"it crashed with {name}",
            "A C extension did that: run with PYTHONFAULTHANDLER=1 to see where.",
        )
    return f"killed by {name}", "Some process sent that signal."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
