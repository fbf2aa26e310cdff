"""A permit comes back exactly once."""

from __future__ import annotations

import logging
import threading

import pytest

from flask_concurrency.vocabulary.permit import Ending, Permit


def test_a_block_completes_its_permit() -> None:
    """Leaving the block returns the permit as completed."""
    endings: list[Ending] = []
    with Permit(endings.append) as permit:
        assert permit.ending is None
    assert endings == [permit.ending] == [Ending.COMPLETED]


def test_a_raising_block_abandons_its_permit() -> None:
    """An error in the block returns the permit all the same."""
    endings: list[Ending] = []
    with pytest.raises(KeyError), Permit(endings.append):
        raise KeyError
    assert endings == [Ending.ABANDONED]


def test_a_second_release_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is our mistake, so it is logged; the count stays right."""
    endings: list[Ending] = []
    permit = Permit(endings.append)
    permit.release(Ending.DROPPED)
    with caplog.at_level(logging.WARNING, "flask_concurrency.permit"):
        permit.release()
    assert endings == [permit.ending] == [Ending.DROPPED]
    assert "released twice" in caplog.text


def test_a_log_filter_that_raises_is_no_matter_of_who_gives_a_permit_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is the server, after the response, where a filter finds no request any more."""

    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("Working outside of request context.")

    monkeypatch.setattr(logging.getLogger("flask_concurrency.permit"), "filters", [refuse])
    permit = Permit(lambda ending: None)
    permit.release()
    permit.release()
    assert "Working outside of request context." in capsys.readouterr().err


def test_of_many_releases_at_once_one_counts() -> None:
    """Eight threads release together; the permit comes back once."""
    endings: list[Ending] = []
    permit = Permit(endings.append)
    barrier = threading.Barrier(8)

    def release() -> None:
        barrier.wait()
        permit.release()

    threads = [threading.Thread(target=release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert endings == [Ending.COMPLETED]
