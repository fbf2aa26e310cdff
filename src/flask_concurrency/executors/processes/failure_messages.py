"""Write the messages about workers and tasks that ended before their time. Decides nothing else."""

from __future__ import annotations

import signal

from flask_concurrency.executors.processes.options import ProcessOptions
from flask_concurrency.executors.processes.records import Task, Worker
from flask_concurrency.executors.processes.worker.memory_cap import EXIT_CODE, out_of_memory
from flask_concurrency.vocabulary.errors import DeadlineExceeded, WorkerDied, WorkerOutOfMemory

_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")


def died(options: ProcessOptions, worker: Worker, task: str) -> WorkerDied:
    """Make the error of a task whose worker died."""
    if worker.exitcode == EXIT_CODE and options.max_memory is not None:
        told = out_of_memory(task, options.max_memory)
        return WorkerOutOfMemory(told, exitcode=worker.exitcode)
    how, remedy = _explain(worker)
    if options.max_memory is not None and worker.killed_because is None:
        remedy += (
            f" It may have had no more memory: max_memory={options.max_memory}, and not all "
            "libraries survive being refused some."
        )
    return WorkerDied(
        f"Worker {worker.number} of {options.name!r} died while it ran {task!r}: {how}. "
        f"No other task is affected. {remedy}",
        exitcode=worker.exitcode,
    )


def no_place_in_time(options: ProcessOptions) -> DeadlineExceeded:
    """Make the error of a caller who waited for a slot in the queue."""
    return DeadlineExceeded(
        f"The queue of {options.name!r} had no place before the deadline: all of its "
        f"{options.max_queue} stayed taken. Submit fewer at once, or raise 'max_queue'."
    )


def too_late(task: Task) -> DeadlineExceeded:
    """Make the error of a task whose deadline has passed."""
    if task.started_at is None:
        return DeadlineExceeded(
            f"{task.name!r} was not begun: its deadline passed before a worker was free. Give it "
            "more time, submit less at once, or raise 'max_workers'."
        )
    return DeadlineExceeded(
        f"{task.name!r} was not done at its deadline, and its worker was killed. No other task is "
        "affected. Give it more time, or less to do."
    )


def not_started(options: ProcessOptions, worker: Worker, reason: str) -> str:
    """Say that a worker did not come up."""
    return f"Worker {worker.number} of {options.name!r} did not start: {reason}"


def start_failure(worker: Worker) -> str:
    """Say how a worker ended that never was ready."""
    if worker.lost_because is not None:
        return worker.lost_because
    if worker.killed_because is None and worker.exitcode is not None and worker.exitcode >= 0:
        return (
            f"it ended with exit code {worker.exitcode} before it was ready. Its initializer, or a "
            "module that this one needs, called os._exit(); let it raise an error instead."
        )
    how, remedy = _explain(worker)
    return f"it ended before it was ready: {how}. {remedy}"


def _explain(worker: Worker) -> tuple[str, str]:
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
            f"killed by {name}, and not by this executor: probably by the kernel, because the "
            "machine or its container ran out of memory",
            "Give a task less at once, use fewer workers, or set 'max_memory', which stops the "
            "task that takes too much.",
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
