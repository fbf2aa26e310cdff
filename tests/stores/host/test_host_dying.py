"""A process that dies at any line of the host store leaves counts that are right.

A process that is killed runs no further line, and the kernel lets go of its locks. Here an
exception ends the work at one line after the other, and the file is let go of at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.host import host_store
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.store import Check, CheckTemplates
from flask_concurrency.testing.manual_clock import ManualClock

HOST = str(Path(host_store.__file__).parent)
QUOTA = 4
RATES: list[Policy] = [
    SlidingWindow(QUOTA, 60.0),
    FixedWindow(QUOTA, 60.0),
    TokenBucket(QUOTA, 60.0, QUOTA),
]
each_rate = pytest.mark.parametrize("policy", RATES, ids=lambda policy: type(policy).__name__)
INSIDE = Check("f", InFlightCount(QUOTA), "k", 1)

Work = Callable[[HostStore], object]


class DiedError(BaseException):
    """The process was killed here."""


def die() -> None:
    raise DiedError


def reaches(
    line: int,
    work: Callable[[], object],
    then: Callable[[], None] = die,
    *,
    again: bool = True,
) -> bool:
    """Run ``work`` until it comes to the n-th line of the host store's code.

    :param again: Whether a line that runs once more counts once more.
    :returns: Whether it came so far.
    """
    lines: list[tuple[str, int]] = []
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(HOST):
            return None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and (again or place not in lines):
            lines.append(place)
            if len(lines) == line:
                sys.settrace(None)
                then()
        return trace

    sys.settrace(trace)
    try:
        work()
    except DiedError:
        return True
    finally:
        sys.settrace(before)
    return False


def open_store(directory: Path, namespace: object, clock: ManualClock) -> HostStore:
    return HostStore(
        str(namespace),
        directory=directory / "counts",
        max_keys=16,
        max_processes=3,
        clock=clock,
    )


def deaths(
    directory: Path, before: Work, work: Work, clock: ManualClock | None = None
) -> Iterator[tuple[HostStore, bool]]:
    """Kill a process at each line of ``work`` in turn.

    :param before: What the process did before.
    :param clock: The clock of all; by default one that stands still.
    :returns: Each time another process of the same counts, and whether the work was ended; in the
        end it is not.
    """
    clock = clock or ManualClock()
    line = 0
    ended = True
    while ended:
        line += 1
        survivor = open_store(directory, line, clock)
        ended = _dies(open_store(directory, line, clock), before, work, line)
        assert survivor.snapshot().processes == (os.getpid(),), "the dead process still lives"
        yield survivor, ended
        survivor.close()
    assert line > 20, "too few lines were run to mean anything"


def _dies(victim: HostStore, before: Work, work: Work, line: int) -> bool:
    before(victim)
    return reaches(line, lambda: work(victim))  # and then nothing refers to it any more


def left(store: HostStore, check: Check) -> int:
    """What is left, found out without spending."""
    return store.take([check._replace(cost=check.policy.quota + 1)])[0].remaining


def admitted(store: HostStore, check: Check, times: int = 2 * QUOTA) -> int:
    return sum(store.take([check])[0].admitted for _ in range(times))


@each_rate
@pytest.mark.parametrize("already", [0, 2])
def test_a_rate_is_neither_exceeded_nor_lost(policy: Policy, already: int, tmp_path: Path) -> None:
    """The one request of the dead process counted or not; no other count changed."""
    check, other = (Check("r", policy, key, 1) for key in ("k", "other"))

    def before(victim: HostStore) -> None:
        admitted(victim, check, already)
        admitted(victim, other, 1)

    left = QUOTA - already
    for survivor, ended in deaths(tmp_path, before, lambda victim: victim.take([check])):
        assert left - 1 <= admitted(survivor, check) <= (left if ended else left - 1)
        assert admitted(survivor, other) == QUOTA - 1


@each_rate
@pytest.mark.parametrize("later", [45.0, 75.0, 105.0, 200.0])
def test_a_window_that_moves_on_is_never_torn(policy: Policy, later: float, tmp_path: Path) -> None:
    """Neither half of what was remembered before is ever read with a half of the new."""
    check = Check("r", policy, "k", 1)
    clock = ManualClock()
    memory = MemoryStore(clock=clock)

    def before(store: HostStore | MemoryStore) -> None:
        clock.now = 1_000.0
        for number in range(3):
            clock.advance(10.0 * number)
            store.take([check])
        clock.advance(later)

    before(memory)
    left = memory.take([check._replace(cost=9)])[0].remaining
    for survivor, ended in deaths(tmp_path, before, lambda victim: victim.take([check]), clock):
        found = survivor.take([check._replace(cost=9)])[0].remaining
        assert left - 1 <= found <= (left if ended else left - 1)


@each_rate
def test_a_refund_happens_or_not(policy: Policy, tmp_path: Path) -> None:
    """A process that dies giving units back gave back all of them or none."""
    check = Check("r", policy, "k", 2)
    one = check._replace(cost=1)

    def before(victim: HostStore) -> None:
        admitted(victim, one, 1)
        admitted(victim, check, 1)

    for survivor, ended in deaths(tmp_path, before, lambda victim: victim.give_back([check])):
        assert admitted(survivor, one) in ((1, 3) if ended else (3,))


@pytest.mark.parametrize("run", range(4))
@pytest.mark.parametrize("whole", [True, False])
def test_a_refund_to_any_run_loses_no_other_unit(run: int, whole: bool, tmp_path: Path) -> None:
    """A process that dies on the way leaves units that count for longer, never for less."""
    policy = SlidingWindow(8, 60.0)
    check = Check("r", policy, "k", 2)
    clock = ManualClock(1_000.0)

    def before(victim: HostStore) -> None:
        clock.now = 1_000.0
        for _ in range(4):
            victim.take([check])
            clock.advance(10.0)

    def work(victim: HostStore) -> None:
        cost = 2 if whole else 1
        victim.give_back([check._replace(cost=cost)], after=10.0 * (4 - run))

    for survivor, ended in deaths(tmp_path, before, work, clock):
        given_back = left(survivor, check)
        assert given_back in ((0, 2 if whole else 1) if ended else (2 if whole else 1,))
        for leaves in range(4):  # what was spent in each second, and not given back, counts so long
            clock.now = 1_060.0 + 10.0 * leaves
            gone = 2 * (leaves + 1) - (0 if leaves < run else given_back)
            assert left(survivor, check) <= gone + given_back
        assert left(survivor, check) == 8


@each_rate
def test_a_count_starts_anew_or_stays(policy: Policy, tmp_path: Path) -> None:
    """A process that dies forgetting a key forgot it or not."""
    check = Check("r", policy, "k", 1)

    def before(victim: HostStore) -> None:
        admitted(victim, check, 3)

    for survivor, ended in deaths(tmp_path, before, lambda victim: victim.forget([check])):
        assert admitted(survivor, check) in ((1, 4) if ended else (4,))


@each_rate
def test_all_counts_start_anew_or_some_stay_whole(policy: Policy, tmp_path: Path) -> None:
    """A process that dies clearing forgot some keys and left the others; permits are still held."""
    checks = [Check("r", policy, str(number), 1) for number in range(2)]

    def before(victim: HostStore) -> None:
        for check in checks:
            admitted(victim, check, 3)

    for survivor, ended in deaths(tmp_path, before, HostStore.clear):
        survivor.take([INSIDE])
        left = [admitted(survivor, check) for check in checks]
        assert set(left) <= ({1, 4} if ended else {4})
        assert survivor.clear() == 2
        assert survivor.take([INSIDE])[0].remaining == QUOTA - 2


def test_permits_of_the_dead_come_back_at_once(tmp_path: Path) -> None:
    """Wherever the process died, taking or giving back, the next one finds all permits."""

    def work(victim: HostStore) -> None:
        victim.take([INSIDE])
        victim.give_back([INSIDE])
        victim.take([INSIDE])

    for survivor, _ in deaths(tmp_path, lambda victim: victim.take([INSIDE]), work):
        assert admitted(survivor, INSIDE) == QUOTA


@pytest.mark.parametrize("later", [0.0, 1.0, 30.0, 61.0])
def test_windows_that_are_asked_alike_are_each_spent_at_most_once(
    later: float, tmp_path: Path
) -> None:
    """Neither is one exceeded, nor is any unit of the others lost."""
    policies = [SlidingWindow(QUOTA, 60.0), SlidingWindow(40, 60.0), SlidingWindow(40, 3_600.0)]
    templates = CheckTemplates(tuple((str(policy), policy, 1, False) for policy in policies))
    clock = ManualClock()
    memory = MemoryStore(clock=clock)

    def before(store: HostStore | MemoryStore) -> None:
        clock.now = 1_000.0
        for seconds in (20.0, 15.0, later):
            store.take_for("k", templates)
            clock.advance(seconds)

    before(memory)
    checks = templates.of("k")
    asked = [check._replace(cost=check.policy.quota + 1) for check in checks]
    lefts = [memory.take([check])[0].remaining for check in asked]
    for survivor, ended in deaths(
        tmp_path, before, lambda victim: victim.take_for("k", templates), clock
    ):
        found = [survivor.take([check])[0].remaining for check in asked]
        for left, there in zip(lefts, found, strict=True):
            assert left - 1 <= there <= (left if ended else left - 1)


@pytest.mark.slow
def test_several_limits_are_each_spent_at_most_once(tmp_path: Path) -> None:
    """A request that died while it was counted costs no limit more than itself."""
    checks = [Check(str(number), policy, "k", 1) for number, policy in enumerate(RATES[:2])]

    def work(victim: HostStore) -> None:
        victim.take([*checks, INSIDE])

    for survivor, _ in deaths(tmp_path, lambda victim: victim.probe(), work):
        for check in checks:
            assert QUOTA - 1 <= admitted(survivor, check) <= QUOTA
        assert admitted(survivor, INSIDE) == QUOTA


@pytest.mark.slow
@each_rate
def test_a_full_file_forgets_whole_keys_only(policy: Policy, tmp_path: Path) -> None:
    """A process that dies making room leaves each key as it was, or forgotten."""
    new = Check("r", policy, "new", 3)
    old = [Check("r", policy, str(number), 2) for number in range(16)]

    def before(victim: HostStore) -> None:
        for check in old:
            victim.take([check])

    for survivor, _ in deaths(tmp_path, before, lambda victim: victim.take([new])):
        kept = [left(survivor, check) for check in old]
        assert set(kept) <= {QUOTA - 2, QUOTA}
        assert kept.count(QUOTA) <= 1
        assert left(survivor, new) in (QUOTA - 3, QUOTA)


@pytest.mark.slow
def test_whoever_dies_opening_the_file_blocks_nobody(tmp_path: Path) -> None:
    """At any line from no file to the first count, the next process opens a sound file."""
    # In a process of its own: to fork the large one of the tests takes several times as long.
    program = "import sys; from test_host_dying import die_opening; die_opening(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def die_opening(directory: str) -> None:
    """End a child at each line that opens a file, and count on in this process."""
    check = Check("r", SlidingWindow(QUOTA, 60.0), "k", 1)
    clock = ManualClock()
    line = 0
    ended = True
    while ended:
        line += 1
        child = os.fork()
        if not child:
            store = open_store(Path(directory), line, clock)
            work = partial(store.take, [check])
            reaches(line, work, lambda: os._exit(1), again=False)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        survivor = open_store(Path(directory), line, clock)
        assert QUOTA - 1 <= admitted(survivor, check) <= QUOTA
        survivor.close()
    assert line > 100, "too few lines were run to mean anything"
