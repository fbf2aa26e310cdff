"""Whatever happens, the host store answers like the memory store."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.store import Check, CheckTemplates
from flask_concurrency.testing.manual_clock import ManualClock

PERIOD = 10.0
POLICIES: tuple[Policy, ...] = (
    SlidingWindow(7, PERIOD),
    FixedWindow(7, PERIOD),
    SlidingWindow(40, PERIOD),
    TokenBucket(7, PERIOD, 9),
    InFlightCount(7),
)
PROCESSES = 3


def checks() -> st.SearchStrategy[list[Check]]:
    one = st.builds(
        lambda number, key, cost, shadow: Check(
            f"limiter {number}", POLICIES[number], key, cost, shadow
        ),
        st.integers(0, len(POLICIES) - 1),
        st.sampled_from(["", "a", "b", "\ud800"]),
        st.integers(0, 9),
        st.booleans(),
    )
    return st.lists(one, max_size=5, unique_by=lambda check: (check.limiter_id, check.key))


ALIKE = [
    CheckTemplates(
        tuple((f"limiter {number}", POLICIES[number], cost, False) for number in numbers)
    )
    for numbers, cost in (((0, 2), 1), ((2,), 3), ((0, 1, 2), 1), ((0, 2), 0))
]
"""What gates ask of every client: windows alone, and with another policy among them."""


class SeveralProcesses(RuleBasedStateMachine):
    """Some host stores of one namespace, one for each process, beside one memory store."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.memory = MemoryStore(clock=self.clock)
        self.taken: list[tuple[int, float, Check]] = []

    @initialize()
    def start(self) -> None:
        self.processes = [self.process() for _ in range(PROCESSES)]

    def process(self) -> HostStore:
        return HostStore(
            "shared",
            directory=Path(self.scratch.name) / "counts",
            max_keys=256,
            max_processes=PROCESSES + 1,
            clock=self.clock,
        )

    @rule(process=st.integers(0, PROCESSES - 1), asked=checks())
    def take(self, process: int, asked: list[Check]) -> None:
        outcomes = self.processes[process].take(asked)
        assert outcomes == self.memory.take(asked)
        if all(o.admitted or c.shadow for c, o in zip(asked, outcomes, strict=True)):
            self.taken += [
                (process, self.clock.now, check)
                for check, outcome in zip(asked, outcomes, strict=True)
                if outcome.admitted
            ]

    @rule(
        process=st.integers(0, PROCESSES - 1),
        key=st.sampled_from(["", "a", "b", "\ud800"]),
        templates=st.sampled_from(ALIKE),
    )
    def take_for(self, process: int, key: str, templates: CheckTemplates) -> None:
        outcomes = self.processes[process].take_for(key, templates)
        assert outcomes == self.memory.take_for(key, templates)
        if all(outcome.admitted for outcome in outcomes):
            self.taken += [(process, self.clock.now, check) for check in templates.of(key)]

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if not self.taken:
            return
        index = data.draw(st.integers(0, len(self.taken) - 1))
        process, then, check = self.taken.pop(index)
        after = self.clock.now - then
        if after >= PERIOD and not isinstance(check.policy, InFlightCount):
            return  # the memory store may have forgotten the key by now, or not
        for store in (self.processes[process], self.memory):
            store.give_back([check], after=after)

    @rule(process=st.integers(0, PROCESSES - 1))
    def clear(self, process: int) -> None:
        self.processes[process].clear()
        self.memory.clear()

    @rule(process=st.integers(0, PROCESSES - 1), asked=checks())
    def forget(self, process: int, asked: list[Check]) -> None:
        self.processes[process].forget(asked)
        self.memory.forget(asked)

    @rule(seconds=st.floats(0.0, 30.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(process=st.integers(0, PROCESSES - 1))
    def die(self, process: int) -> None:
        """The kernel closes what the process had open, and a new process replaces it."""
        self.processes[process].close()
        self.processes[process] = self.process()
        held = [
            check
            for owner, _, check in self.taken
            if owner == process and isinstance(check.policy, InFlightCount)
        ]
        self.taken = [entry for entry in self.taken if entry[0] != process]
        self.memory.give_back(held)
        for check in held:  # the next look finds out who died
            self.processes[process].take([check._replace(cost=0)])

    def teardown(self) -> None:
        for store in self.processes:
            store.close()
        self.scratch.cleanup()


SeveralProcesses.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
test_several_processes_count_like_one = pytest.mark.slow(SeveralProcesses.TestCase)


@pytest.mark.parametrize("longest", [0.1, 0.5, 4.0])
def test_windows_asked_alike_answer_like_memory_wherever_their_rings_begin(
    longest: float, tmp_path: Path
) -> None:
    """Rings that fill, move on and wrap, written by two processes in turn, say the same."""
    chosen = random.Random(1)
    clock = ManualClock()
    memory = MemoryStore(clock=clock)
    templates = CheckTemplates(
        tuple((str(quota), SlidingWindow(quota, PERIOD), 1, False) for quota in (7, 32, 40, 9_000))
    )
    processes = [
        HostStore("shared", directory=tmp_path / "counts", max_keys=256, clock=clock)
        for _ in range(2)
    ]
    wraps = 0
    for _ in range(1_000):
        clock.advance(chosen.uniform(0.0, longest))
        process = chosen.choice(processes)
        assert process.take_for("k", templates) == memory.take_for("k", templates)
        assert process._transactions is not None
        ((_, request, _),) = process._transactions._prepared.values()
        wraps += sum(cell.ring[2] == 2 for cell, *_ in request)
    for process in processes:
        process.close()
    assert wraps > 100
