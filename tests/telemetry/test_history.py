"""One hour of rows that outlives its writers."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from flask_concurrency.telemetry.history import NAME, SECONDS, History


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the files of a deployment are; its parent is private, as the real one is."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    return parent / "counters"


@pytest.mark.parametrize("shared", [True, False])
def test_rows_are_read_as_they_were_written_and_an_hour_at_most(
    directory: Path, shared: bool
) -> None:
    """A row takes the place of the one an hour before."""
    history = History(directory if shared else None, 2)
    assert history.hold()
    for second in range(10_000, 10_000 + SECONDS + 5):
        history.write(second, [second / 2, -1.0])
    last = 10_000 + SECONDS + 4
    rows = history.rows(after=0, until=last)
    assert len(rows) == SECONDS
    assert rows[0] == (10_005.0, 5002.5, -1.0)
    assert history.rows(after=last - 2, until=last + 9)[-1][0] == last
    history.close()


def test_one_process_writes_and_others_read(directory: Path) -> None:
    """The right to write is a lock of the kernel's."""
    first, second = History(directory, 1), History(directory, 1)
    assert first.hold()
    assert not second.hold()
    first.write(100, [7.0])
    assert second.rows(after=99, until=100) == [(100.0, 7.0)]
    first.close()
    assert second.hold()
    second.close()


def test_a_killed_writer_leaves_its_rows_and_the_right_to_write(directory: Path) -> None:
    """Whatever it died of."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        history = History(directory, 1)
        history.hold()
        history.write(100, [7.0])
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    mine = History(directory, 1)
    assert not mine.hold()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert mine.hold()
    assert mine.rows(after=0, until=100) == [(100.0, 7.0)]
    mine.close()
    os.close(reader)
    os.close(writer)


def test_a_writer_that_dies_in_the_middle_leaves_no_row(directory: Path) -> None:
    """A row is there once its second is, which is written last."""
    history = History(directory, 1)
    history.hold()
    history.write(100, [7.0])
    content = bytearray((directory / NAME).read_bytes())
    place = content.index(b"\x00\x00\x00\x00\x00\x00\x1c@")  # 7.0
    content[place - 8 : place] = bytes(8)
    (directory / NAME).write_bytes(content)
    assert history.rows(after=0, until=100) == []
    history.close()


@pytest.mark.parametrize("damage", [b"", b"something else", b"\x89FlaskHI" + bytes(2_000)])
def test_a_damaged_file_is_begun_anew(directory: Path, damage: bytes) -> None:
    """One of another version, or of other columns, too."""
    directory.mkdir(mode=0o700)
    (directory / NAME).write_bytes(damage)
    history = History(directory, 1)
    assert history.hold()
    assert history.rows(after=0, until=100) == []
    history.close()


def test_a_removed_file_is_replaced(directory: Path) -> None:
    """By the one that writes, with its next row."""
    history = History(directory, 1)
    history.hold()
    (directory / NAME).unlink()
    assert history.hold()
    history.write(100, [7.0])
    assert (directory / NAME).exists()
    history.close()


def test_where_no_file_can_be_had_nothing_is_kept(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is said once."""
    directory.parent.chmod(0o777)
    history = History(directory, 1)
    assert not history.hold()
    assert history.rows(after=0, until=100) == []
    assert caplog.text.count("cannot be kept") == 1


def test_readers_do_not_take_the_lock_from_their_own_writer(directory: Path) -> None:
    """Threads of one process that open the file at once share one descriptor of it."""
    history = History(directory, 1)
    start = threading.Barrier(8)
    held: list[bool] = []

    def use(writes: bool) -> None:
        start.wait()
        for _ in range(50):
            if writes:
                held.append(history.hold())
            else:
                history.rows(after=0, until=1)

    threads = [threading.Thread(target=use, args=(number == 0,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held == [True] * 50
    history.close()
    after = History(directory, 1)
    assert after.hold()
    after.close()
