"""What a forked child does with its parent's objects."""

from __future__ import annotations

import gc
import logging
import os
import weakref

import pytest

from flask_concurrency.runtime import forks
from flask_concurrency.runtime.forks import call_in_child, generation


class Counter:
    """Something with a state that a child must not share."""

    def __init__(self) -> None:
        self.resets: list[str] = []

    def reset(self) -> None:
        self.resets.append("reset")

    def fail(self) -> None:
        raise OSError("no descriptor left")


def in_child(question: str, answers: dict[str, object]) -> str:
    """Fork, and return what the child finds under ``question``."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, repr(answers[question]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as found:
        text = found.read().decode()
    os.waitpid(child, 0)
    return text


def test_a_child_resets_each_object_once() -> None:
    """And the parent, which goes on with its threads and locks, none."""
    counter = Counter()
    call_in_child(counter, Counter.reset)
    assert in_child("resets", vars(counter)) == "['reset']"
    assert counter.resets == []


def test_an_object_that_is_gone_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registering keeps nothing alive, and leaves nothing behind."""
    monkeypatch.setattr(forks, "_registered", {})
    counter = Counter()
    alive = weakref.ref(counter)
    call_in_child(counter, Counter.reset)
    del counter
    gc.collect()
    assert alive() is None
    assert forks._registered == {}


def test_a_reset_that_fails_keeps_no_other_from_running(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The child could not do anything about it; it is logged with its cause."""
    monkeypatch.setattr(forks, "_registered", {})
    broken, counter = Counter(), Counter()
    call_in_child(broken, Counter.fail)
    call_in_child(counter, Counter.reset)
    with caplog.at_level(logging.ERROR):
        forks._reset_all()
    monkeypatch.setattr(forks, "_generation", generation() - 1)
    assert counter.resets == ["reset"]
    assert "no descriptor left" in caplog.text


def test_a_child_is_of_the_next_generation() -> None:
    """What was made by a parent is known by its number."""
    here = generation()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, bytes([generation() - here]))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as found:
        assert found.read() == b"\x01"
    os.waitpid(child, 0)
    assert generation() == here
