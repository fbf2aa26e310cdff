"""Counters that add up over processes, and outlive them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.telemetry.counter_file import CELLS_AT, HEADER, NAMES_USED_AT, claim_file
from flask_concurrency.telemetry.counters import LOOK_EVERY, Counters
from flask_concurrency.testing.manual_clock import ManualClock

REQUESTS = ("requests", "GET", "/", "200")
TIMES = ("seconds", "GET", "/")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the files of a deployment are; its parent is private, as the real one is."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    return parent / "counters"


def add(counters: Counters, name: tuple[str, ...] = REQUESTS, amount: int = 1) -> None:
    """Add to the only number of a name."""
    counters.add([(name, 1, 0, amount)])


def kill_a_child_that_counts(counters: Counters, times: int) -> None:
    """Fork a worker that counts, and kill it as the kernel does when memory is out."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for _ in range(times):
            add(counters)
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)


def test_what_killed_workers_counted_stays(directory: Path) -> None:
    """And the next ones go on in their files: there are as many as ran at the same time."""
    counters = Counters(directory)
    add(counters)
    for _ in range(3):
        kill_a_child_that_counts(counters, 5)
    assert counters.totals() == {REQUESTS: (16,)}
    assert len(list(directory.iterdir())) == 2
    counters.close()


def test_two_processes_never_count_in_one_file(directory: Path) -> None:
    """Two writers of one number would lose what both add at the same time."""
    first, second = claim_file(directory, timeout=1), claim_file(directory, timeout=1)
    assert first.path != second.path
    taken = first.path
    first.close()
    third = claim_file(directory, timeout=1)
    assert third.path == taken
    second.close()
    third.close()


def test_threads_lose_no_count(directory: Path) -> None:
    """Adding is reading and writing; two threads may not do it at once."""
    counters = Counters(directory)
    start = threading.Barrier(4)

    def count() -> None:
        start.wait()
        for _ in range(2_000):
            counters.add([(REQUESTS, 1, 0, 1), (TIMES, 3, 1, 2)])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.totals() == {REQUESTS: (8_000,), TIMES: (0, 16_000, 0)}
    counters.close()


def test_a_child_leaves_its_parent_its_file(directory: Path) -> None:
    """Else the parent's file would stay held for as long as any child of it lives."""
    counters = Counters(directory)
    add(counters)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        add(counters)
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    counters.close()
    again = claim_file(directory, timeout=1)
    assert again.path.name.startswith("0.")
    again.close()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)


def test_without_a_file_this_process_counts_alone_and_catches_up(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory of another user is not written to; one line of the log says so."""
    clock = ManualClock()
    directory.parent.chmod(0o777)
    counters = Counters(directory, clock=clock)
    with caplog.at_level(logging.WARNING):
        add(counters)
        clock.advance(LOOK_EVERY)
        add(counters)
    assert caplog.text.count("counts in its memory alone") == 1
    assert counters.totals() == {REQUESTS: (2,)}
    directory.parent.chmod(0o700)
    clock.advance(LOOK_EVERY)
    add(counters)
    assert counters.totals() == {REQUESTS: (3,)}
    counters.close()
    assert Counters(directory).totals() == {REQUESTS: (3,)}


def test_a_removed_directory_is_made_anew(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Cleaners of temporary files come by; what was counted is gone, and the log says so."""
    clock = ManualClock()
    counters = Counters(directory, clock=clock)
    add(counters)
    shutil.rmtree(directory)
    clock.advance(LOOK_EVERY)
    with caplog.at_level(logging.WARNING):
        add(counters)
    assert "was removed; counting goes on in a new file" in caplog.text
    assert counters.totals() == {REQUESTS: (1,)}
    counters.close()


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut", "names"])
def test_a_damaged_file_is_begun_anew(directory: Path, damage: str) -> None:
    """And not read meanwhile: a wrong number is worse than a missing one."""
    first = claim_file(directory, timeout=1)
    path = first.path
    first.register(REQUESTS)
    first.close()
    content = bytearray(path.read_bytes())
    if damage == "empty":
        content = bytearray()
    elif damage == "foreign":
        content[:8] = b"#!/bin/s"
    elif damage == "cut":
        content = content[: CELLS_AT + 100]
    else:
        content[NAMES_USED_AT : NAMES_USED_AT + 8] = b"\xff" * 8
    path.write_bytes(content)
    counters = Counters(directory)
    add(counters)
    assert counters.totals() == {REQUESTS: (1,)}
    counters.close()


def test_a_process_that_died_while_it_wrote_a_name_leaves_a_whole_file(directory: Path) -> None:
    """The name counts once the header says that it is there, and is written over else."""
    file = claim_file(directory, timeout=1)
    file.register(REQUESTS)
    path = file.path
    file.close()
    content = bytearray(path.read_bytes())
    _, _, cells, used = HEADER.unpack_from(content)
    at = CELLS_AT + 8 * cells + used
    content[at : at + 9] = b'[1,1,"tor'
    path.write_bytes(content)
    counters = Counters(directory)
    add(counters, TIMES)
    assert counters.totals() == {REQUESTS: (0,), TIMES: (1,)}
    counters.close()


def test_more_names_than_there_is_room_for_cost_the_newest(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The size is bounded, whatever an app registers; one line says so."""
    counters = Counters(directory)
    with caplog.at_level(logging.WARNING):
        counters.add([((f"{number}" * 3,), 4_000, 0, 1) for number in range(10)])
    assert len(counters.totals()) == 8
    assert counters.dropped == 2
    assert caplog.text.count("more kinds of requests and limits") == 1
    counters.close()


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4).map(tuple))
def test_any_text_may_be_part_of_a_name(name: tuple[str, ...]) -> None:
    """Line breaks, quotes and what is no character included."""
    counters = Counters(None)
    add(counters, name)
    assert counters.totals() == {name: (1,)}


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4).map(tuple))
def test_a_file_gives_names_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, name: tuple[str, ...]
) -> None:
    """The same, through the file."""
    parent = tmp_path_factory.mktemp("private")
    parent.chmod(0o700)
    counters = Counters(parent / "counters")
    add(counters, name)
    assert counters.totals() == {name: (1,)}
    counters.close()


def test_what_ends_in_the_middle_of_a_count_is_counted_after_it(directory: Path) -> None:
    """The garbage collector may end a task on any line, on the thread that holds the lock."""
    counters = Counters(directory)

    def changes() -> Iterator[tuple[tuple[str, ...], int, int, int]]:
        yield (REQUESTS, 1, 0, 1)
        counters.add([(("other",), 1, 0, 5)])
        yield (REQUESTS, 1, 0, 1)

    counters.add(changes())
    assert counters.totals() == {REQUESTS: (2,), ("other",): (5,)}
    counters.close()
