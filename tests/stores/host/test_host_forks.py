"""A forked child inherits open files and locks. It must neither use them nor keep them alive."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.stores.host import private_file
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.store import Check

CHECK = Check("r", FixedWindow(5, 60.0), "k", 1)
INSIDE = Check("f", InFlightCount(2), "k", 1)

OpenStore = Callable[..., HostStore]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True, params=["byte locks", "whole file"])
def _kind_of_lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "whole file":
        monkeypatch.setattr(private_file, "known_for", lambda descriptor: False)


def in_child(work: Callable[[], bool]) -> bool:
    """Do something in a forked child, and say what came of it."""
    child = os.fork()
    if not child:
        ok = False
        with suppress(BaseException):
            ok = work()
        os._exit(0 if ok else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_parent_and_child_share_their_counts(open_store: OpenStore) -> None:
    """The child opens the file for itself and counts on."""
    store = open_store()
    assert store.take([CHECK])[0].remaining == 4
    assert in_child(lambda: store.take([CHECK])[0].remaining == 3)
    assert store.take([CHECK])[0].remaining == 2


def test_a_child_gives_back_nothing_of_its_parent(open_store: OpenStore) -> None:
    """A request that was inherited halfway ends in the parent, once."""
    store = open_store()
    store.take([INSIDE])

    def work() -> bool:
        store.give_back([INSIDE])
        taken = store.take([INSIDE])[0].remaining == 0
        store.give_back([INSIDE, INSIDE])
        return taken

    assert in_child(work)
    assert store.take([INSIDE])[0].remaining == 0


def test_permits_of_a_child_that_ended_come_back(open_store: OpenStore) -> None:
    """Whether it gave them back or not."""
    store = open_store()
    store.probe()
    assert in_child(lambda: all(o.admitted for o in store.take([INSIDE._replace(cost=2)])))
    assert store.take([INSIDE._replace(cost=2)])[0].admitted


def test_a_living_child_does_not_keep_its_dead_parent_alive(
    open_store: OpenStore, directory: Path
) -> None:
    """The parent is killed while its child runs on: its permits come back at once."""
    ready, tell_ready = os.pipe()
    until, release = os.pipe()
    parent = os.fork()
    if not parent:
        store = open_store()
        store.take([INSIDE._replace(cost=2)])
        if os.fork():
            signal.pause()
        os.close(release)
        os.write(tell_ready, b"!")
        os.read(until, 1)  # until the test closes its end
        os._exit(0)
    os.close(until)
    assert os.read(ready, 1) == b"!"
    survivor = open_store()
    assert not survivor.take([INSIDE])[0].admitted
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert survivor.take([INSIDE._replace(cost=2)])[0].admitted
    for descriptor in (ready, tell_ready, release):
        os.close(descriptor)


def test_a_fork_in_the_middle_of_counting_blocks_nobody(open_store: OpenStore) -> None:
    """The child does not inherit a thread lock that no thread of its own would release."""
    parent = os.getpid()
    counting, forked = threading.Event(), threading.Event()
    waits = False

    def clock() -> float:
        if waits and os.getpid() == parent:
            counting.set()
            forked.wait()
        return 1_000.0

    store = open_store(clock=clock, timeout=30.0)
    store.probe()
    waits = True
    thread = threading.Thread(target=store.take, args=([CHECK],))
    thread.start()
    counting.wait()
    child = os.fork()
    if not child:
        os._exit(0 if store.take([CHECK])[0].remaining == 3 else 1)
    forked.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.take([CHECK])[0].remaining == 2
