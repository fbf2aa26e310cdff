"""Descriptors that one thread watches while others change which: the same for every kind."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from flask_concurrency.executors.processes.watch import (
    TIMER,
    EpollWatch,
    SelectorWatch,
    Watch,
    make_watch,
)

KINDS = [EpollWatch, SelectorWatch]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=KINDS)
def watch(request: pytest.FixtureRequest) -> Iterator[Watch]:
    watch: Watch = request.param()
    yield watch
    watch.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def found_by(watch: Watch, wanted: int) -> list[int]:
    """Wait as the collector does: over and over, until what is wanted is found."""
    for _ in range(10):
        found = watch.wait()
        if wanted in found:
            return found
    raise AssertionError(f"{wanted} was not found")


def meanwhile(watch: Watch, wanted: int, change: Callable[[], object]) -> None:
    """Make a change while another thread waits, which must then find what is wanted."""
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.extend(found_by(watch, wanted)))
    waiting.start()
    change()
    waiting.join(10)
    assert not waiting.is_alive()
    assert wanted in found


def test_the_best_kind_is_made() -> None:
    """Linux has epoll."""
    watch = make_watch()
    assert isinstance(watch, EpollWatch)
    watch.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_no_watch_is_made_where_descriptors_are_used_up(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The pool says so when it starts; with another kind it would start, and hang later."""
    monkeypatch.setattr(select, "epoll", failing_with(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        make_watch()


def test_a_kernel_without_epoll_has_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a sandbox that does not know the call."""
    monkeypatch.setattr(select, "epoll", failing_with(errno.ENOSYS))
    watch = make_watch()
    assert isinstance(watch, SelectorWatch)
    watch.close()


def failing_with(code: int) -> Callable[[], object]:
    def fail() -> object:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_second_close_leaves_the_descriptors_of_others_open(watch: Watch) -> None:
    """Each child forked later closes again what may have a new owner by then."""
    watch.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    watch.close()
    for descriptor in others:
        os.close(descriptor)


def test_what_is_armed_during_a_wait_is_found(watch: Watch, pair: Pair) -> None:
    """Readable already, or readable later."""
    ours, theirs = pair
    theirs.send(b"x")
    meanwhile(watch, ours.fileno(), lambda: watch.register(ours.fileno()))
    watch.unregister(ours.fileno())
    ours.recv(1)
    watch.register(ours.fileno())
    meanwhile(watch, ours.fileno(), lambda: theirs.send(b"x"))


def test_the_end_of_the_other_side_is_found(watch: Watch, pair: Pair) -> None:
    """It is how a worker's death is noticed."""
    ours, theirs = pair
    watch.register(ours.fileno())
    theirs.close()
    assert ours.fileno() in found_by(watch, ours.fileno())


def test_what_is_disarmed_is_not_found(watch: Watch, pair: Pair) -> None:
    """Another thread reads it."""
    ours, theirs = pair
    watch.register(ours.fileno())
    watch.unregister(ours.fileno())
    theirs.send(b"x")
    watch.wake()
    assert ours.fileno() not in watch.wait()


def test_a_wait_can_be_ended(watch: Watch) -> None:
    """Any number of calls are one, and one before the wait counts."""
    for _ in range(1000):
        watch.wake()
    watch.wait()
    ended = threading.Event()

    def wait() -> None:
        watch.wait()
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    watch.wake()
    assert ended.wait(10)
    waiting.join()


def test_a_reminder_comes_once(watch: Watch) -> None:
    """However often it was asked for; asked for again, it comes again."""
    for _ in range(3):
        for _ in range(5):
            watch.remind()
        assert TIMER in found_by(watch, TIMER)
        watch.wake()
        assert TIMER not in watch.wait()


def test_waking_after_the_close_is_no_error(watch: Watch) -> None:
    """A finalizer may come late."""
    other = type(watch)()
    other.close()
    other.wake()
