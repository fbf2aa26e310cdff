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
