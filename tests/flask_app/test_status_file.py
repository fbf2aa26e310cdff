"""What one process publishes, another reads, as long as the first one lives."""

from __future__ import annotations

import gc
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from flask_concurrency.flask_app.work.status_file import Publisher, read_statuses
from flask_concurrency.runtime.timer_thread import Alarm, Timekeeper
from flask_concurrency.stores.host.private_directory import default_directory
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import StoreUnavailable


@dataclass(frozen=True)
class Snapshot:
    """Of an executor, as far as it matters here."""

    busy: int


def publisher(busy: list[int], name: str = "shop") -> Publisher:
    """One whose time never comes by itself."""
    return Publisher(
        name, lambda: {"threads": Snapshot(busy[0]), "loop": None}, keeper=Timekeeper(ManualClock())
    )


def test_what_is_published_is_read() -> None:
    """By the name of the deployment; executors that were not used are left out."""
    busy = [3]
    ours = publisher(busy)
    ours.publish()
    (found,) = read_statuses("shop")
    assert (found.process, found.executors) == (os.getpid(), {"threads": {"busy": 3}})
    assert read_statuses("another shop") == []

    busy[0] = 12_345
    ours.publish()
    busy[0] = 1
    ours.publish()  # shorter than before
    assert read_statuses("shop")[0].executors == {"threads": {"busy": 1}}


def test_what_has_not_changed_is_not_written() -> None:
    """An idle server writes nothing."""
    ours = publisher([0])
    ours.publish()
    before = read_statuses("shop")[0].published
    ours.publish()
    assert read_statuses("shop")[0].published == before


def test_a_process_without_a_thread_to_spare_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that submits work must not fail for it."""

    def no_thread(*_: object) -> Alarm:
        raise RuntimeError("can't start new thread")

    ours = publisher([0])
    monkeypatch.setattr(ours._keeper, "call_at", no_thread)
    ours.begin()
    assert read_statuses("shop") == []


def test_it_is_gone_with_its_app() -> None:
    """A publisher that is garbage-collected removes its file."""
    ours = publisher([0])
    ours.publish()
    del ours
    gc.collect()
    assert list(default_directory().iterdir()) == []


def test_a_dead_process_says_nothing_any_more() -> None:
    """Killed, it cannot remove its file; the next reader removes it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        ours = publisher([7])
        ours.publish()
        os.write(writer, b"x")
        signal.pause()
        os._exit(0)
    os.read(reader, 1)
    assert [each.process for each in read_statuses("shop")] == [child]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert read_statuses("shop") == []
    assert list(default_directory().iterdir()) == []
    os.close(reader)
    os.close(writer)


def test_what_a_dead_process_left_goes_with_the_next_one() -> None:
    """Of another deployment, too, whose status may never be read again."""
    child = os.fork()
    if child == 0:
        forgotten = publisher([7], "forgotten shop")
        forgotten.publish()
        os._exit(0)  # as if killed: nothing is tidied up
    os.waitpid(child, 0)
    assert len(list(default_directory().iterdir())) == 1

    ours, others = publisher([1]), publisher([2], "other shop")
    ours.publish()
    others.publish()

    assert len(list(default_directory().iterdir())) == 2
    assert len(read_statuses("shop")) == len(read_statuses("other shop")) == 1


def test_a_forked_child_does_not_keep_its_parent_alive() -> None:
    """The lock on the file is the parent's alone; the child's words are its own."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        ours = publisher([1])
        ours.publish()
        if os.fork() == 0:
            ours.publish()
            os.write(writer, b"x")
            signal.pause()
        os._exit(0)
    os.waitpid(parent, 0)
    os.read(reader, 1)
    (found,) = read_statuses("shop")
    assert found.process != parent
    os.kill(found.process, signal.SIGKILL)
    os.close(reader)
    os.close(writer)


def test_it_begins_once_and_publishes_in_time() -> None:
    """``begin`` is called with every use of an executor."""
    clock = ManualClock()
    keeper = Timekeeper(clock)
    ours = Publisher("shop", dict, keeper=keeper)
    ours.begin()
    ours.begin()
    assert len(keeper) == 1


def test_a_directory_of_somebody_else_is_not_read() -> None:
    """What is read there could have been prepared."""
    publisher([0]).publish()
    Path(default_directory()).chmod(0o777)
    with pytest.raises(StoreUnavailable, match="permissions 777"):
        read_statuses("shop")


def test_where_nothing_was_published_nothing_is_made() -> None:
    """Looking leaves no directory behind."""
    assert read_statuses("shop") == []
    assert not default_directory().exists()
