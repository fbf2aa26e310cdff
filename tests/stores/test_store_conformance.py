"""Every store we have keeps the contract of stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.limits_adapter import LimitsStore
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.stores.redis.redis_store import RedisStore
from flask_concurrency.stores.store import Store
from flask_concurrency.testing.store_conformance import CASES, Case, OpenStore
from flask_concurrency.vocabulary.clock import Clock

OpenerOf = Callable[..., OpenStore]

KEPT_BY_LIMITS = (
    "fixed window",
    "a_shadow_only_reports",
    "limiters_and_keys_are_apart",
    "limiters_of_one_id_share",
    "nothing_asked_is_nothing_answered",
)
"""What a storage of the ``limits`` library can keep: it has other sliding windows, no token
buckets and no permits, and most of it cannot give back."""

PATIENT = 30.0
"""Seconds a call may take on a machine that is busy with other tests."""

LONG = 1_000_000.0
"""Seconds of a lease that no case outlives: that leases end is not in the contract."""


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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_redis_keeps_the_contract(case: Case, redis_server: Any, namespace: str) -> None:
    """Scripts on a server answer what the arithmetic in Python does."""
    numbers = itertools.count()

    def open_store(clock: Clock) -> Store:
        return RedisStore(
            redis_server.url,
            namespace=f"{namespace}.{next(numbers)}",
            timeout=PATIENT,
            lease=LONG,
            clock=clock,
        )

    case(open_store)


@pytest.mark.parametrize("name", KEPT_BY_LIMITS)
def test_the_limits_adapter_keeps_what_it_can(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its storages promise less; what they promise is held against the same table."""

    def open_store(clock: Clock) -> Store:
        time = SimpleNamespace(time=clock)
        monkeypatch.setattr("limits.storage.memory.time", time)
        monkeypatch.setattr("limits.strategies.time", time)
        return LimitsStore("limits+memory://", clock=clock)

    CASES[name](open_store)
