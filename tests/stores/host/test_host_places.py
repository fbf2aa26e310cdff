"""Where a host store lives: what its URI says, else what the system offers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from flask_concurrency.stores import opening
from flask_concurrency.stores.fallback import FallbackStore
from flask_concurrency.stores.host import boot_identity, ofd_locks, private_directory
from flask_concurrency.stores.host.boot_identity import current_boot_identity
from flask_concurrency.stores.host.host_store import HostStore
from flask_concurrency.stores.host.private_directory import default_directory
from flask_concurrency.stores.host.url import HostLocation, read_url
from flask_concurrency.stores.opening import open_store
from flask_concurrency.vocabulary.errors import ConfigurationError


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("host://", HostLocation(None, {})),
        ("host:///run/my-app", HostLocation(Path("/run/my-app"), {})),
        ("host:///run/my%20app", HostLocation(Path("/run/my app"), {})),
        ("host://?max_keys=100", HostLocation(None, {"max_keys": 100})),
        (
            "host:///run?max_keys=100&max_processes=9",
            HostLocation(Path("/run"), {"max_keys": 100, "max_processes": 9}),
        ),
    ],
)
def test_a_uri_says_where_and_how_large(uri: str, place: HostLocation) -> None:
    """What it does not say is left to the defaults."""
    assert read_url(uri) == place


@pytest.mark.parametrize(
    "uri",
    [
        *("host://my-app", "host:my-app", "host:/my-app", "host:"),
        *("host://?keys=1", "host://?max_keys=", "host://?max_keys=-1", "host://#x"),
    ],
)
def test_a_wrong_uri_shows_a_right_one(uri: str) -> None:
    """The message names what was written."""
    with pytest.raises(ConfigurationError, match=r"host:///run/my-app\?max_keys=200000") as raised:
        read_url(uri)
    assert uri.partition("?")[0] in str(raised.value)


def test_the_host_store_stands_behind_a_fallback(tmp_path: Path) -> None:
    """A full disk must not be the app's outage; nothing is opened yet."""
    store = open_store(f"host://{tmp_path / 'counts'}?max_keys=100", namespace="app")
    assert isinstance(store, FallbackStore)
    assert isinstance(store.store, HostStore)
    assert not (tmp_path / "counts").exists()


def test_a_platform_without_file_locks_is_told_what_else_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the app starts, not in the first request."""
    monkeypatch.setattr(opening, "HOST_WORKS", False)
    with pytest.raises(ConfigurationError, match=r"memory://.*Redis"):
        open_store("host://")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory of this user."""
    path = tmp_path / "runtime"
    path.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


def test_the_runtime_directory_comes_first(runtime: Path) -> None:
    """It is in memory, private, and gone after the last session."""
    assert default_directory() == runtime / "flask-concurrency"


@pytest.mark.parametrize("value", ["", "relative", "/does/not/exist"])
def test_without_one_it_is_shared_memory(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a name of the user's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    monkeypatch.setattr(private_directory, "SHARED_MEMORY", tmp_path)
    assert default_directory() == tmp_path / f"flask-concurrency-{os.geteuid()}"


def test_a_runtime_directory_that_others_may_enter_is_not_used(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another user's, as after ``sudo -E``."""
    runtime.chmod(0o755)
    monkeypatch.setattr(private_directory, "SHARED_MEMORY", tmp_path)
    assert default_directory().parent == tmp_path


def test_without_shared_memory_it_is_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(private_directory, "SHARED_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert default_directory() == tmp_path / f"flask-concurrency-{os.geteuid()}"


def test_an_epoch_is_of_one_boot_and_one_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes that read the same monotonic clock agree on it, and no others."""
    boot, clock = tmp_path / "boot_id", tmp_path / "time"
    monkeypatch.setattr(boot_identity, "BOOT_ID", boot)
    monkeypatch.setattr(boot_identity, "TIME_NAMESPACE", clock)
    assert current_boot_identity() is None
    boot.write_text("one\n")
    seen = {current_boot_identity()}
    clock.symlink_to("time:[1]")
    seen.add(current_boot_identity())
    assert current_boot_identity() in seen
    boot.write_text("two\n")
    seen.add(current_boot_identity())
    assert len(seen) == 3
    assert None not in seen


def test_byte_locks_are_only_used_where_the_kernel_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old kernel, an emulated one or another system has whole-file locks instead."""
    with (tmp_path / "file").open("w+b") as file:
        descriptor = file.fileno()
        assert ofd_locks.known_for(descriptor)
    assert not ofd_locks.known_for(descriptor)
    monkeypatch.setattr("sys.platform", "darwin")
    assert not ofd_locks.known_for(0)
