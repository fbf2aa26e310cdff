"""Run a benchmark's subjects in turn, so that all of them meet the machine in the same moods.

Knows benchmarks and isolated subjects; knows no statistics and prints no table.

Subjects take turns batch by batch, in an order shuffled with a fixed seed (A B C, C A B, …), so
a noisy neighbour or a changing clock speed meets all of them alike, and a ratio can be formed
within each round. Several sessions start every process afresh, because where the loader happens
to put a process in memory makes it a few per cent faster or slower for all its life.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.benchmark import Benchmark
from benchmarks.isolated import Effort, IsolatedSubjects, SubjectFailed

SEED = 20_240_229
FEW = 6
"""Rounds of a session that are run however long they take."""


@dataclass(frozen=True, slots=True)
class Thoroughness:
    """How often everything is measured.

    :param sessions: Times that all processes are started afresh.
    :param rounds: Batches of each subject in a session, at most.
    :param seconds: After which a session begins no further round, unless it had too few.
    :param effort: How long each process is kept busy.
    """

    sessions: int
    rounds: int
    seconds: float
    effort: Effort


# Batches are about as short as the turns a busy system gives, so that many are undisturbed.
FULL = Thoroughness(sessions=4, rounds=60, seconds=10.0, effort=Effort(warm_up=0.3, batch=0.004))
QUICK = Thoroughness(sessions=1, rounds=2, seconds=0.0, effort=Effort(warm_up=0.0, batch=0.0))
"""Every path once or twice, in a few seconds: proves that it runs, measures nothing."""


@dataclass(slots=True)
class Run:
    """What was measured.

    :ivar benchmark: What was run.
    :ivar seconds: For each subject, seconds a call, one value a round; the same position in each
        list is the same round.
    :ivar failures: For each subject that failed, why.
    """

    benchmark: Benchmark
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def measure(
    table: str,
    benchmark: Benchmark,
    thoroughness: Thoroughness,
    progress: Callable[[str], None] = lambda text: None,
) -> Run:
    """Measure every subject; one that fails is reported and left out, the others go on.

    :param table: The module that holds the benchmark.
    :param progress: Told, in words, how far it is.
    """
    run = Run(benchmark)
    order = random.Random(SEED)
    for session in range(thoroughness.sessions):
        progress(f"{benchmark.name}: session {session + 1} of {thoroughness.sessions}")
        _session(run, table, thoroughness, order)
    return run


def _session(run: Run, table: str, thoroughness: Thoroughness, order: random.Random) -> None:
    names = [each.name for each in run.benchmark.subjects if each.name not in run.failures]
    groups = [names] if names and run.benchmark.together else [[name] for name in names]
    opened: dict[str, IsolatedSubjects] = {}
    try:
        for group in groups:
            process = IsolatedSubjects(table, run.benchmark.name, group, thoroughness.effort)
            opened.update(dict.fromkeys(group, process))
        for group in groups:
            _attempt(run, opened, group[0], lambda process, _: process.wait_until_ready())
        begun_at = time.monotonic()
        for turn in range(thoroughness.rounds):
            if turn >= FEW and time.monotonic() - begun_at > thoroughness.seconds:
                break
            turns = list(opened)
            order.shuffle(turns)
            for name in turns:
                seconds = _attempt(run, opened, name, IsolatedSubjects.run_batch)
                if seconds is not None:
                    run.seconds.setdefault(name, []).append(seconds)
    finally:
        processes = set(opened.values())
        for process in processes:
            process.hang_up()  # all first, so that they end side by side
        for process in processes:
            process.close()


def _attempt(
    run: Run,
    opened: dict[str, IsolatedSubjects],
    name: str,
    act: Callable[[IsolatedSubjects, str], float | None],
) -> float | None:
    """Act on a subject. If it fails, its process is closed, and what that gave is not used."""
    process = opened.get(name)
    if process is None:
        return None
    try:
        return act(process, name)
    except SubjectFailed as failure:
        for lost in [each for each, its in opened.items() if its is process]:
            run.failures[lost] = str(failure)
            run.seconds.pop(lost, None)
            del opened[lost]
        process.close()
        return None
