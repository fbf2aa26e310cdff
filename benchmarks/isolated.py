"""Give subjects a fresh process of their own, which waits while another one is timed.

Knows subjects and a pipe; knows no table and compares nothing.

A process of its own, because what one library leaves behind would be billed to the next: timer
threads, patched modules, a grown heap. Processes wait on a pipe, so only one is ever working.
Garbage is collected before a batch, never forbidden in it: allocating is part of the cost.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from multiprocessing.connection import Connection

from benchmarks.benchmark import Call

Batch = Callable[[], float]

MAX_BATCH = 60.0
"""Seconds after which a subject that gives no answer is taken for stuck."""


class SubjectFailed(Exception):
    """A subject could not be opened, gave a wrong answer, or none."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each process is kept busy.

    :param warm_up: Seconds of calls before the first batch.
    :param batch: Seconds a batch lasts; at least one call is made.
    """

    warm_up: float
    batch: float


class IsolatedSubjects:
    """Subjects in a process of their own: mostly it is one.

    :param table: The module that holds the benchmark, such as ``"benchmarks.tables.rates"``.
    :param benchmark: The benchmark's name in that module.
    :param subjects: The subjects' names.
    :param effort: How long each is kept busy.
    """

    def __init__(self, table: str, benchmark: str, subjects: Sequence[str], effort: Effort) -> None:
        self._subjects = tuple(subjects)
        # The order of sets is part of what a process does: it is the same for every subject.
        os.environ["PYTHONHASHSEED"] = "0"
        usual = multiprocessing.get_start_method()
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(theirs, usual, table, benchmark, self._subjects, effort)
        )
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until all are built and warm.

        :raises SubjectFailed: One could not be opened, or its first answer was wrong.
        """
        for subject in self._subjects:
            self._answer(subject)

    def run_batch(self, subject: str) -> float:
        """Time one batch of a subject.

        :returns: Seconds a call, or what the calls measured.
        :raises SubjectFailed: An answer was wrong, or none came within :data:`MAX_BATCH`.
        """
        self._pipe.send(subject)
        return self._answer(subject)

    def hang_up(self) -> None:
        """Ask the process to clean up and end."""
        self._pipe.close()

    def close(self) -> None:
        """End the process, and wait until it has."""
        self.hang_up()
        self._process.join(MAX_BATCH)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self, subject: str) -> float:
        try:
            if not self._pipe.poll(MAX_BATCH):
                raise SubjectFailed(f"{subject}: no answer within {MAX_BATCH:g} s")
            answer: float | str = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            raise SubjectFailed(f"{subject}: its process died, exit code {code}") from None
        if isinstance(answer, str):
            raise SubjectFailed(f"{subject}: {answer}")
        return answer


def _serve(
    pipe: Connection,
    start_method: str,
    table: str,
    benchmark: str,
    subjects: Sequence[str],
    effort: Effort,
) -> None:
    """Build the subjects, then time a batch each time the other end asks, until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end decides; it hangs up
    # A spawned process would spawn its own, which takes twenty times as long as an app's processes
    # take where the platform forks.
    multiprocessing.set_start_method(start_method, force=True)
    try:
        module = importlib.import_module(table)
        found = next(each for each in module.BENCHMARKS if each.name == benchmark)
        known = {each.name: each for each in found.subjects}
        batches: dict[str, Batch] = {}
        with ExitStack() as stack:
            for name in subjects:
                call = stack.enter_context(known[name].open())
                batches[name] = _ask(call) if found.measures_itself else _timed(call, effort)
                pipe.send(0.0)
            while (asked := _asked(pipe)) is not None:
                gc.collect()
                pipe.send(batches[asked]())
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        pipe.send(f"{type(error).__name__}: {error}")


def _asked(pipe: Connection) -> str | None:
    try:
        subject: str = pipe.recv()
    except (EOFError, ConnectionError):
        return None
    return subject


def _timed(call: Call, effort: Effort) -> Batch:
    loops = _warm_up(call, effort)
    return lambda: _time(call, loops) / loops


def _ask(call: Call) -> Batch:
    call()  # starts pools and the like

    def batch() -> float:
        measured = call()
        assert isinstance(measured, float)
        return measured

    return batch


def _warm_up(call: Call, effort: Effort) -> int:
    """Call until caches, pools and the interpreter are warm; returns the calls of one batch."""
    fastest = _time(call, 1)  # starts pools and the like, and does not count as warming up
    started_at = time.perf_counter()
    while time.perf_counter() - started_at < effort.warm_up:
        fastest = min(fastest, _time(call, 1))
    return max(1, round(effort.batch / fastest))


def _time(call: Call, loops: int) -> float:
    """Seconds that ``loops`` calls take."""
    times = repeat(None, loops)
    started_at = time.perf_counter()
    for _ in times:
        call()
    return time.perf_counter() - started_at
