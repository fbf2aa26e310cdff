"""The host store trusts only a whole file of its own kind that no other user could change."""

from __future__ import annotations

import errno
import logging
import math
import mmap
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_concurrency.policies.fixed_window import FixedWindow
from flask_concurrency.policies.in_flight import InFlightCount
from flask_concurrency.policies.sliding_window import SlidingWindow
from flask_concurrency.policies.token_bucket import TokenBucket
from flask_concurrency.stores.host import private_file
from flask_concurrency.stores.host.header import HEADER_SIZE, MAGIC
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.host.layout import CONTENT_AT, LINES_USED_AT, SLOT
from flask_concurrency.stores.host.locks import FileGone
from flask_concurrency.stores.host.transactions import Transactions
from flask_concurrency.stores.store import Check, CheckTemplates
from flask_concurrency.testing.manual_clock import ManualClock
from flask_concurrency.vocabulary.errors import ConfigurationError, StoreUnavailable

CHECK = Check("r", FixedWindow(5, 60.0), "k", 1)

OpenStore = Callable[..., HostStore]


def left(store: HostStore) -> int:
    """Units left after one more request."""
    return store.take([CHECK])[0].remaining


def the_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_nothing_is_touched_before_the_first_request(
    open_store: OpenStore, directory: Path
) -> None:
    """A store that is only made, as before a fork, leaves the disk alone."""
    store = open_store()
    store.give_back([CHECK])
    assert not directory.exists()
    assert left(store) == 4
    assert directory.exists()


def test_counts_outlive_the_processes(open_store: OpenStore) -> None:
    """All processes may end; the next one continues their counts."""
    store = open_store()
    assert left(store) == 4
    store.close()
    assert left(open_store()) == 3


def test_two_namespaces_never_share(open_store: OpenStore, directory: Path) -> None:
    """However alike they look when they are made fit for the name of a file."""
    for namespace in ("app", "app ", "app/", "/app", "ap\0p", "\ud800", "", "k" * 10_000):
        assert left(open_store(namespace)) == 4
    assert len(list(directory.iterdir())) == 8


def test_only_its_user_can_read_it(open_store: OpenStore, directory: Path) -> None:
    """However generous the umask is."""
    before = os.umask(0)
    try:
        left(open_store())
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert the_file(directory).stat().st_mode & 0o777 == 0o600


def test_it_names_no_client(open_store: OpenStore, directory: Path) -> None:
    """Keys are hashed, so a reader of the file learns no address."""
    open_store().take([CHECK._replace(key="203.0.113.77"), CHECK._replace(limiter_id="/secret")])
    content = the_file(directory).read_bytes()
    assert b"203.0.113.77" not in content
    assert b"secret" not in content


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def cut_into_the_header(path: Path) -> None:
    os.truncate(path, HEADER_SIZE - 1)


def grown(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 4096)


def changed(at: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        emptied,
        cut_into_the_header,
        grown,
        changed(len(MAGIC)),  # the version
        changed(len(MAGIC) + 4),  # a size
        changed(HEADER_SIZE - 1),  # the checksum
    ],
)
def test_a_damaged_file_is_built_anew(
    damage: Callable[[Path], None],
    open_store: OpenStore,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its counts are not trusted, it is replaced, and that is logged."""
    store = open_store()
    assert left(store) == 4
    store.close()
    damage(the_file(directory))
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        assert left(open_store()) == 4
    assert "built anew" in caplog.text
    assert left(open_store()) == 3


def test_a_foreign_file_is_left_alone(open_store: OpenStore, directory: Path) -> None:
    """A file that does not begin like one of ours may be a user's own."""
    store = open_store()
    left(store)
    store.close()
    path = the_file(directory)
    path.write_bytes(b"my thesis")
    with pytest.raises(StoreUnavailable, match=r"not a file of counts.*my thesi.*Move it away"):
        left(open_store())
    assert path.read_bytes() == b"my thesis"


def linked(path: Path) -> None:
    other = path.with_name("elsewhere")
    path.rename(other)
    path.symlink_to(other)


def made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def made_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("replace", [linked, made_a_directory, made_a_pipe])
def test_only_a_regular_file_will_do(
    replace: Callable[[Path], None], open_store: OpenStore, directory: Path
) -> None:
    """A link could lead anywhere, and a pipe would block."""
    store = open_store()
    left(store)
    store.close()
    replace(the_file(directory))
    with pytest.raises(StoreUnavailable, match="not a regular file"):
        left(open_store())


def test_a_file_that_others_may_touch_is_refused(open_store: OpenStore, directory: Path) -> None:
    """The message names the permissions and the remedy."""
    store = open_store()
    left(store)
    store.close()
    the_file(directory).chmod(0o660)
    with pytest.raises(StoreUnavailable, match=r"permissions 660.*permissions 600"):
        left(open_store())


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_directory_that_others_may_enter_is_refused(
    mode: int, open_store: OpenStore, directory: Path
) -> None:
    """A user who may write there could put a file of theirs in place of ours."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(StoreUnavailable, match=r"must belong to user .* 700.*host:///"):
        left(open_store())


def test_what_belongs_to_another_user_is_refused(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it prepared by an attacker or left over by another account."""
    left(open_store())
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(StoreUnavailable, match=f"belongs to user {me} .*user {me + 1}"):
        left(open_store())


def test_a_link_to_a_directory_is_refused(open_store: OpenStore, directory: Path) -> None:
    """So is a file at its path."""
    elsewhere = directory.with_name("elsewhere")
    elsewhere.mkdir(0o700)
    directory.symlink_to(elsewhere)
    with pytest.raises(StoreUnavailable, match="instead of a directory"):
        left(open_store())
    directory.unlink()
    directory.write_text("")
    with pytest.raises(StoreUnavailable, match="instead of a directory"):
        left(open_store())


def test_a_directory_that_cannot_be_made_is_told(open_store: OpenStore, tmp_path: Path) -> None:
    """The message names the path and what the system said."""
    with pytest.raises(StoreUnavailable, match=r"missing/deep.*No such file"):
        left(open_store(directory=tmp_path / "missing" / "deep"))


def test_a_full_disk_is_told_at_once(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a signal in the middle of a later request; nothing is left over."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreUnavailable, match=r"No room for the [\d,]+ bytes.*No space left"):
        left(open_store())
    assert list(directory.iterdir()) == []
    monkeypatch.undo()
    assert left(open_store()) == 4


def test_its_room_is_taken_when_it_is_built(open_store: OpenStore, directory: Path) -> None:
    """A file with holes could kill a process that fills them while the disk is full."""
    left(open_store())
    found = the_file(directory).stat()
    assert found.st_blocks * 512 >= found.st_size


def test_the_counts_of_an_earlier_boot_are_forgotten(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock has started over, so its instants say nothing any more."""
    store = open_store()
    left(store)
    store.close()
    monkeypatch.setattr(private_file, "current_boot_identity", lambda: b"another boot    ")
    assert left(open_store()) == 4


def test_a_file_of_another_clock_that_is_in_use_is_refused(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clocks in one file would refuse for ever, or never."""
    left(open_store())
    monkeypatch.setattr(private_file, "current_boot_identity", lambda: b"another clock   ")
    with pytest.raises(StoreUnavailable, match="CONCURRENCY_NAMESPACE"):
        left(open_store())


def test_where_no_boot_has_a_name_only_the_living_vouch_for_a_file(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as one process has it open it is of this boot."""
    monkeypatch.setattr(private_file, "current_boot_identity", lambda: None)
    first, second = open_store(), open_store()
    assert [left(first), left(second)] == [4, 3]
    first.close()
    assert left(open_store()) == 2


def test_a_new_size_takes_effect_when_all_have_ended(open_store: OpenStore) -> None:
    """Until then every process uses the file as it is, so that none counts apart."""
    small = open_store(max_keys=256)
    assert left(small) == 4
    large = open_store(max_keys=4_096)
    assert left(large) == 3
    assert large.snapshot().capacity == 256
    small.close()
    large.close()
    assert left(large) == 4
    assert large.snapshot().capacity == 4_096


@pytest.mark.parametrize("harm", [Path.unlink, cut_short, emptied])
def test_processes_meet_again_when_their_file_is_gone(
    harm: Callable[[Path], None], open_store: OpenStore, directory: Path
) -> None:
    """No process is killed by touching the part cut off, and none counts apart for long."""
    clock = ManualClock()
    one, two = open_store(clock=clock), open_store(clock=clock)
    assert [left(one), left(two)] == [4, 3]
    harm(the_file(directory))
    clock.advance(1.0)
    assert [left(one), left(two), left(one)] == [4, 3, 2]


@pytest.mark.parametrize("harm", [cut_short, emptied])
def test_a_file_that_is_cut_off_kills_nobody(
    harm: Callable[[Path], None], open_store: OpenStore, directory: Path
) -> None:
    """The very next request notices; to touch what is gone would be the end of the process."""
    store = open_store()
    left(store)
    harm(the_file(directory))
    assert left(store) == 4
    windows = CheckTemplates((("w", SlidingWindow(5, 60.0), 1, False),))
    for _ in range(2):
        store.take_for("k", windows)
        harm(the_file(directory))
        assert store.take_for("k", windows)[0].remaining == 4
    harm(the_file(directory))
    store.give_back([CHECK])
    harm(the_file(directory))
    assert store.forget([CHECK]) == 0


def test_a_file_that_grew_is_noticed_by_all(open_store: OpenStore, directory: Path) -> None:
    """A lock is found from the file's end: none waits for one that is elsewhere by now."""
    clock = ManualClock()
    one, two, three = (open_store(clock=clock) for _ in range(3))
    assert [left(one), left(two), left(three)] == [4, 3, 2]
    path = the_file(directory)
    os.truncate(path, path.stat().st_size + 4_096)
    assert left(one) == 1
    assert left(two) == 4
    clock.advance(1.0)
    assert [left(one), left(three), left(two)] == [3, 2, 1]


def test_a_file_whose_directory_is_gone_is_built_anew(
    open_store: OpenStore, directory: Path
) -> None:
    """As when the system clears the runtime directory of a user who logged out."""
    clock = ManualClock()
    store = open_store(clock=clock)
    left(store)
    shutil.rmtree(directory)
    clock.advance(1.0)
    assert left(store) == 4


def test_giving_back_to_a_file_that_is_gone_is_nothing(
    open_store: OpenStore, directory: Path
) -> None:
    """What was held is gone with the file."""
    inside = Check("f", InFlightCount(1), "k", 1)
    store = open_store()
    store.take([inside])
    emptied(the_file(directory))
    store.give_back([inside])
    assert store.take([inside])[0].admitted


INSIDE = Check("f", InFlightCount(2), "k", 1)


@pytest.mark.parametrize("harm", [Path.unlink, cut_short, emptied])
def test_a_permit_returns_only_to_its_own_file(
    harm: Callable[[Path], None], open_store: OpenStore, directory: Path
) -> None:
    """One of a file that is gone would free a permit that another request holds in the new one."""
    clock = ManualClock()
    store = open_store(clock=clock)
    store.take([INSIDE, CHECK])
    harm(the_file(directory))
    clock.advance(1.0)
    assert store.take([INSIDE])[0].remaining == 1
    clock.advance(1.0)
    store.take([INSIDE, CHECK])
    clock.advance(1.0)
    store.give_back([INSIDE, CHECK], after=3.0)
    assert not store.take([INSIDE])[0].admitted
    assert left(store) == 3
    store.give_back([INSIDE], after=2.0)
    assert store.take([INSIDE])[0].admitted


@pytest.mark.parametrize(
    ("harm", "said"), [(Path.unlink, "was removed"), (cut_short, "cut off"), (replaced, "replaced")]
)
def test_a_file_that_is_gone_is_told_once(
    harm: Callable[[Path], None],
    said: str,
    open_store: OpenStore,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Counts are lost then, and requests that are inside; a person wants to know by whom."""
    clock = ManualClock()
    store = open_store(clock=clock)
    left(store)
    path = the_file(directory)
    harm(path)
    clock.advance(1.0)
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        left(store)
        left(store)
    (line,) = [line for line in caplog.messages if said in line]
    assert str(path) in line
    assert "is lost" in line


def test_closing_a_store_tells_nothing(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is still there."""
    store = open_store()
    left(store)
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        store.close()
        assert left(store) == 3
    assert caplog.messages == []


WINDOW = Check("w", SlidingWindow(5, 60.0), "k", 2)


def cell_of(store: HostStore, check: Check) -> tuple[mmap.mmap, int]:
    """The mapped file, and where in it a key is counted."""
    assert store._transactions is not None
    cell = store._transactions._index.find(check.limiter_id, check.policy, check.key)
    return store._transactions.file.memory, cell._cell  # type: ignore[union-attr]


def overwrite(check: Check, offset: int, content: bytes) -> Callable[[HostStore], None]:
    def harm(store: HostStore) -> None:
        memory, cell = cell_of(store, check)
        memory[cell + offset : cell + offset + len(content)] = content

    return harm


def many_lines(store: HostStore) -> None:
    assert store._transactions is not None
    store._transactions.file.memory[LINES_USED_AT : LINES_USED_AT + 4] = b"\xff" * 4


NAN, AHEAD = struct.pack("@d", math.nan), struct.pack("@d", 1e9)
DAMAGE = {
    "a record that is not there": overwrite(CHECK, 0, struct.pack("@I", 3)),
    "a window that begins later": overwrite(CHECK, CONTENT_AT, AHEAD),
    "a window that begins never": overwrite(CHECK, CONTENT_AT, NAN),
    "a ring that is not there": overwrite(WINDOW, 0, b"\xff" * 4),
    "a ring of too many runs": overwrite(WINDOW, 0, struct.pack("@I", 1 + 63)),
    "a unit spent later": overwrite(WINDOW, CONTENT_AT + SLOT.size, AHEAD),
    "a unit spent never": overwrite(WINDOW, CONTENT_AT + SLOT.size, NAN),
    "fewer units than none": overwrite(WINDOW, CONTENT_AT + 8, b"\xff" * 8),
    "more processes than lines": many_lines,
    "all of the cell": overwrite(WINDOW, 0, b"\xff" * 576),
}


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
def test_damage_behind_the_header_is_built_anew(
    harm: Callable[[HostStore], None],
    open_store: OpenStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No request fails for it: counts begin at nothing, which is logged, and all meet there."""
    clock = ManualClock()
    one, two = open_store(clock=clock), open_store(clock=clock)
    stage = [CHECK, WINDOW, INSIDE]
    for store in (one, two):
        store.take(stage)
    harm(one)
    clock.advance(1.0)
    with caplog.at_level(logging.WARNING, "flask_concurrency.store"):
        assert [outcome.remaining for outcome in one.take(stage)] == [4, 3, 1]
        assert [outcome.remaining for outcome in two.take(stage)] == [3, 1, 0]
    assert sum("is lost" in line for line in caplog.messages) == 2
    one.probe()
    assert one.snapshot().processes == (os.getpid(), os.getpid())


def test_a_clock_that_is_a_little_behind_is_no_damage(open_store: OpenStore) -> None:
    """The clocks of two CPUs may differ; that throws no count away."""
    clock = ManualClock(1_000.0)
    store = open_store(clock=clock)
    stage = [CHECK, WINDOW, Check("b", TokenBucket(5, 60.0, 5), "k", 1)]
    store.take(stage)
    clock.now -= 0.001
    outcomes = store.take(stage)
    assert [outcome.remaining for outcome in outcomes] == [3, 1, 3]
    assert all(0.0 <= (outcome.reset_after or 0.0) <= 60.01 for outcome in outcomes)


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_in_any_call(
    harm: Callable[[HostStore], None], open_store: OpenStore
) -> None:
    """Also where units are given back or forgotten, and by a process that comes later."""
    calls: list[Callable[[HostStore], object]] = [
        lambda store: store.give_back([CHECK, WINDOW, INSIDE]),
        lambda store: store.forget([CHECK, WINDOW, INSIDE]),
        HostStore.snapshot,
        HostStore.clear,
    ]
    for ask in calls:
        store = open_store()
        store.take([CHECK, WINDOW, INSIDE])
        harm(store)
        ask(store)
        store.close()
        later = open_store()
        for _ in range(3):
            later.take([CHECK, WINDOW, INSIDE])
        later.close()


@pytest.mark.parametrize("seed", range(30))
def test_no_damage_is_an_error(seed: int, open_store: OpenStore) -> None:
    """Whatever bytes stand behind the header: each request is answered, or said to be out."""
    chance = random.Random(seed)
    clock = ManualClock()
    store = open_store(clock=clock)
    checks = [
        Check(f"r{number}", policy, key, 1)
        for number, policy in enumerate(
            (SlidingWindow(5, 60.0), SlidingWindow(90, 60.0), CHECK.policy, TokenBucket(5, 60.0, 5))
        )
        for key in "abcd"
    ]
    for _ in range(3):
        store.take(checks)
        clock.advance(1.0)
    assert store._transactions is not None
    memory = store._transactions.file.memory
    for _ in range(chance.choice((1, 30, 3_000))):
        check = chance.choice(checks)
        cell = cell_of(store, check)[1]
        at = cell + chance.randrange(64)
        memory[at : at + 8] = chance.choice((chance.randbytes(8), b"\xff" * 8, bytes(8)))
    for _ in range(5):
        for check in checks:
            (outcome,) = store.take([check])
            for wait in outcome[2:]:
                assert wait is not None
                assert 0.0 <= wait <= 60.0
            store.give_back([check])
            store.forget([check])
        clock.advance(1.0)


def test_a_file_that_is_always_gone_is_told(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than building it again for ever."""

    def gone(*_: object) -> None:
        raise FileGone

    monkeypatch.setattr(Transactions, "take", gone)
    with pytest.raises(StoreUnavailable, match="again and again"):
        left(open_store())


def test_too_many_processes_are_told(open_store: OpenStore) -> None:
    """One that ends makes room for another."""
    stores = [open_store(max_processes=2) for _ in range(3)]
    assert [left(store) for store in stores[:2]] == [4, 3]
    with pytest.raises(StoreUnavailable, match="Raise max_processes"):
        left(stores[2])
    stores[0].close()
    assert left(stores[2]) == 2


@pytest.mark.parametrize("wrong", [0, -1, 2**24 + 1, 1.5, True, None])
def test_a_size_that_makes_no_sense_is_refused_where_it_is_written(wrong: object) -> None:
    """The message names the option and its value."""
    for option in ("max_keys", "max_processes"):
        with pytest.raises(ConfigurationError, match=f"{option} = {wrong!r}"):
            HostStore("app", **{option: wrong})  # type: ignore[arg-type]
