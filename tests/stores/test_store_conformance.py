"""Every store we have keeps the contract of stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.store import Store
from flask_concurrency.testing.store_conformance import CASES, Case, OpenStore
from flask_concurrency.vocabulary.clock import Clock

OpenerOf = Callable[[Path], OpenStore]


def memory(tmp_path: Path) -> OpenStore:
    return lambda clock: MemoryStore(clock=clock)


def host(tmp_path: Path) -> OpenStore:
    numbers = itertools.count()

    def open_store(clock: Clock) -> Store:
        return HostStore(
            f"store {next(numbers)}",
            directory=tmp_path / "counts",
            max_keys=4_096,
            max_processes=4,
            clock=clock,
        )

    return open_store


@pytest.mark.parametrize("opener", [memory, host])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_contract_is_kept(case: Case, opener: OpenerOf, tmp_path: Path) -> None:
    """The same table of instants and the same laws, whatever counts."""
    case(opener(tmp_path))
