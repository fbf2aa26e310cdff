"""Which permits a process holds, and the thread that renews them while there are any."""

from __future__ import annotations

import threading

import pytest

from flask_concurrency.stores.redis.leases import Held, Leases
from flask_concurrency.vocabulary.errors import StoreUnavailable


def thread_of(leases: Leases) -> threading.Thread:
    """The thread that renews, which must be there."""
    assert leases._thread is not None
    return leases._thread


def test_ids_are_never_the_same() -> None:
    """Neither in one process nor in two."""
    one, two = (Leases(lambda held: None, interval=60.0) for _ in range(2))
    ids = [leases.new_id() for leases in (one, two) for _ in range(1_000)]
    assert len(set(ids)) == 2_000


def test_the_newest_permit_of_a_key_goes_first() -> None:
    """Permits of one key and cost are alike; of others they are not."""
    leases = Leases(lambda held: None, interval=60.0)
    leases.hold("k", 1, "1:a")
    leases.hold("k", 1, "1:b")
    leases.hold("k", 2, "2:c")
    leases.hold("other", 1, "1:d")
    assert [leases.pop("k", 1) for _ in range(3)] == ["1:b", "1:a", None]
    assert leases.held() == [Held("k", "2:c"), Held("other", "1:d")]
    leases.close()


def test_no_thread_without_permits() -> None:
    """An app with rates alone never has one."""
    leases = Leases(lambda held: None, interval=60.0)
    leases.new_id()
    assert leases._thread is None


def test_one_thread_renews_what_is_held_and_ends_when_nothing_is() -> None:
    """It is a daemon: it keeps no process alive."""
    renewed = threading.Event()
    told: list[list[Held]] = []

    def renew(held: list[Held]) -> None:
        told.append(held)
        renewed.set()

    leases = Leases(renew, interval=0.005)
    leases.hold("k", 1, "1:a")
    leases.hold("k", 1, "1:b")
    thread = thread_of(leases)
    assert thread.daemon
    assert renewed.wait(5.0)
    assert told[0] == [Held("k", "1:a"), Held("k", "1:b")]
    leases.pop("k", 1)
    leases.pop("k", 1)
    thread.join(5.0)
    assert not thread.is_alive()
    leases.hold("k", 1, "1:c")
    again = thread_of(leases)
    assert again is not thread
    leases.close()
    again.join(5.0)
    assert not again.is_alive()


def test_a_closed_store_that_is_used_again_renews_again() -> None:
    """Closing ends one thread; the next permit starts another."""
    renewed = threading.Event()
    leases = Leases(lambda held: renewed.set(), interval=0.005)
    leases.close()
    leases.hold("k", 1, "1:a")
    assert renewed.wait(5.0)
    leases.close()


def test_a_renewal_that_fails_is_tried_again() -> None:
    """The server may be back before the lease ends."""
    tries: list[int] = []
    enough = threading.Event()

    def renew(held: list[Held]) -> None:
        tries.append(len(held))
        if len(tries) == 3:
            enough.set()
        raise StoreUnavailable("gone.")

    leases = Leases(renew, interval=0.005)
    leases.hold("k", 1, "1:a")
    assert enough.wait(5.0)
    leases.close()


@pytest.mark.parametrize("cost", [1, 3])
def test_letting_go_of_nothing_is_nothing(cost: int) -> None:
    """A permit of the parent process, returned in a forked child, is not known there."""
    assert Leases(lambda held: None, interval=60.0).pop("k", cost) is None
