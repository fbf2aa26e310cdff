"""What each host of a fleet has counted, and the process that tells it for its host."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from flask_concurrency.flask_app.telemetry import fleet_counts
from flask_concurrency.flask_app.telemetry.fleet_counts import FleetCounts
from flask_concurrency.telemetry.exchanged import decode, encode
from flask_concurrency.telemetry.host_file import FILE, HostFile
from flask_concurrency.telemetry.names import Totals, added_up
from flask_concurrency.vocabulary.errors import StoreUnavailable

HELLO = ("requests", "GET", "/hello", "200")
BYE = ("requests", "GET", "/bye/<über>", "404")


class Memory:
    """A server that keeps what it is told, or does not answer."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.out = self.closed = False

    def write(self, host: str, counts: bytes) -> None:
        """Keep it."""
        if self.out:
            raise StoreUnavailable("The server does not answer.")
        self.kept[host] = counts

    def read(self) -> dict[str, bytes]:
        """Give all that is kept."""
        return dict(self.kept)

    def close(self) -> None:
        """Note it."""
        self.closed = True


@contextmanager
def forked(ask: Callable[[], bool]) -> Iterator[tuple[bytes, Callable[[], None]]]:
    """A child that asks and then stays: its answer, and what kills it."""
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(telling, b"1" if ask() else b"0")
        signal.pause()
    with ExitStack() as stack:
        stack.callback(os.close, told)
        stack.callback(os.close, telling)
        kill = stack.enter_context(ExitStack())
        kill.callback(os.waitpid, child, 0)
        kill.callback(os.kill, child, signal.SIGKILL)
        yield os.read(told, 1), kill.close


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the files of a deployment are; its parent is private, as the real one is."""
    return private(tmp_path, "one")


def private(tmp_path: Path, host: str) -> Path:
    """The same for one of several hosts."""
    parent = tmp_path / host
    parent.mkdir(mode=0o700)
    return parent / "counters"


# --- bytes ---


def test_counts_are_read_as_they_were_written() -> None:
    """Names of any characters, and numbers of any size."""
    totals: Totals = {HELLO: (3, 2**60), BYE: (0,)}
    assert decode(encode(totals)) == totals
    assert decode(encode({})) == {}


@pytest.mark.parametrize("written", [b"", b"{}", encode({HELLO: (1,)})[:-3], b"x\x9c"])
def test_other_bytes_are_no_counts(written: bytes) -> None:
    """A key that something else has written to."""
    with pytest.raises(ValueError, match="no counts"):
        decode(written)


def test_numbers_of_other_buckets_are_left_out_of_a_sum() -> None:
    """Hosts run different versions while a new one is rolled out."""
    parts: list[Totals] = [{HELLO: (1, 2)}, {HELLO: (1, 2, 3), BYE: (4,)}, {HELLO: (5, 6)}]
    assert added_up(parts) == {HELLO: (6, 8), BYE: (4,)}


# --- the name of a host ---


def test_all_processes_of_a_host_call_it_the_same_and_one_speaks(directory: Path) -> None:
    """The right to speak is a lock of the kernel's."""
    first, second = HostFile(directory), HostFile(directory)
    assert first.name() == second.name()
    assert len(first.name()) == 32
    assert first.hold()
    assert first.hold()
    assert not second.hold()
    first.close()
    assert second.hold()
    assert second.name() == HostFile(directory).name()
    second.close()


def test_a_host_without_its_files_has_a_new_name(directory: Path) -> None:
    """Its counts begin anew with them; what it told before stays what another host has counted."""
    host = HostFile(directory)
    before = host.name()
    (directory / FILE).unlink()
    assert host.name() != before
    host.close()


def test_a_killed_process_leaves_the_right_to_speak(directory: Path) -> None:
    """Whatever it died of."""
    host = HostFile(directory)
    with forked(host.hold) as (answer, kill):
        assert answer == b"1"
        other = HostFile(directory)
        assert not other.hold()
        kill()
        assert other.hold()
        other.close()


# --- what a fleet has counted ---


def test_a_fleet_is_this_host_now_and_the_others_as_they_told(tmp_path: Path) -> None:
    """No host is added twice, however often it tells."""
    server = Memory()
    counted: dict[str, Totals] = {"one": {HELLO: (1,)}, "two": {HELLO: (10,), BYE: (7,)}}
    one = FleetCounts(server, private(tmp_path, "one"), lambda: counted["one"])
    two = FleetCounts(server, private(tmp_path, "two"), lambda: counted["two"])
    assert one.read() == (1, {HELLO: (1,)})
    for host in (one, two, one):
        assert host.write()
    counted["one"], counted["two"] = {HELLO: (2,)}, {HELLO: (20,)}
    assert one.read() == (2, {HELLO: (12,), BYE: (7,)})
    assert two.read() == (2, {HELLO: (21,)})
    one.close()
    assert two.read().hosts == 2
    two.close()


def test_one_process_of_a_host_tells_and_another_when_it_ends(directory: Path) -> None:
    """All of them would tell the same."""
    server = Memory()
    first, second = (FleetCounts(server, directory, lambda: {HELLO: (5,)}) for _ in range(2))
    assert first.write()
    assert not second.write()
    assert second.read() == (1, {HELLO: (5,)})
    first.close()
    assert second.write()
    assert len(server.kept) == 1
    second.close()


def test_a_forked_child_neither_tells_nor_keeps_others_from_it(directory: Path) -> None:
    """It has a copy of its parent's descriptor, which would keep the lock."""
    fleet = FleetCounts(Memory(), directory, dict)
    assert fleet.write()
    with forked(fleet.write) as (answer, _):
        assert answer == b"0"
        fleet.close()
        other = FleetCounts(Memory(), directory, dict)
        assert other.write()
        other.close()


def test_where_processes_share_no_directory_each_is_a_host() -> None:
    """An app that is tested, or a platform without file locks."""
    server = Memory()
    fleets = [FleetCounts(server, None, lambda: {HELLO: (1,)}) for _ in range(3)]
    for fleet in fleets:
        assert fleet.write()
    assert fleets[0].read() == (3, {HELLO: (3,)})


def test_a_host_whose_counts_cannot_be_read_is_left_out_and_named_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A later version may write them otherwise: that must not take the sums of all others."""
    server = Memory()
    server.kept["ab12"] = b"something else"
    fleet = FleetCounts(server, directory, lambda: {HELLO: (1,)})
    for _ in range(2):
        assert fleet.read() == (1, {HELLO: (1,)})
    (told,) = [record.message for record in caplog.records]
    assert told.startswith("What host ab12 has counted is left out: These are no counts")
    fleet.close()


def test_a_host_file_that_is_forgotten_leaves_its_lock(directory: Path) -> None:
    """An app that is made again in one process must be able to write."""
    host = HostFile(directory)
    assert host.hold()
    del host
    other = HostFile(directory)
    assert other.hold()
    other.close()


def test_a_closed_fleet_writes_no_more(directory: Path) -> None:
    """Its thread may have waited for the lock meanwhile."""
    server = Memory()
    fleet = FleetCounts(server, directory, dict)
    fleet.close()
    assert server.closed
    assert not fleet.write()
    assert server.kept == {}


def test_without_a_thread_more_a_request_goes_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next one tries again."""
    fleet = FleetCounts(Memory(), directory, dict)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(fleet_counts, "call_every_second", refuse)
        fleet.begin()
    assert "can't start new thread" in caplog.text
    fleet.begin()
    assert "concurrency-fleet" in {each.name for each in threading.enumerate()}
    fleet.close()


def test_a_server_that_is_out_is_logged_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And again once it was back."""
    server = Memory()
    fleet = FleetCounts(server, directory, lambda: {HELLO: (1,)})
    with caplog.at_level(logging.WARNING):
        for server.out in (True, True, False, True):
            fleet._write_or_log()
    assert [record.message for record in caplog.records] == [
        "Other hosts do not see what this one counts: The server does not answer."
    ] * 2
    assert fleet.read() == (1, {HELLO: (1,)})
    fleet.close()
