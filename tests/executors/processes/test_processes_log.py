"""What tasks log: it reaches the owner's loggers, and is decided by the owner's levels."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import process_tasks as tasks
from flask_concurrency.executors.processes import ProcessExecutor
from flask_concurrency.executors.processes.worker import log_relay
from flask_concurrency.executors.processes.worker.log_relay import (
    LONGEST,
    RelayHandler,
    levels_here,
    make_relay,
    relay_records,
)

PoolOf = Callable[..., ProcessExecutor]


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.enough = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if len(self.records) == 2:
            self.enough.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Listen to the logger of the tasks."""
    logger, handler = logging.getLogger("shop"), Heard()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_what_a_task_logs_reaches_the_loggers_here(
    pool_of: PoolOf, heard: Heard, start_method: str
) -> None:
    """Once, with its traceback, its extras and its worker; not what the levels here leave out."""
    executor = pool_of(1, name="talkers", start_method=start_method)
    executor.submit(tasks.log_something, logging.DEBUG, "too quiet").result(30)
    executor.submit(tasks.log_something, logging.INFO, "said", order=7).result(30)
    assert heard.enough.wait(30)
    said, failed = heard.records
    assert said.getMessage() == "said by a task"
    assert (said.name, said.levelname) == ("shop.tasks", "INFO")
    assert getattr(said, "order") == 7  # noqa: B009 # an attribute that only this record has
    assert said.processName == "talkers-1"
    assert "LookupError: said" in failed.getMessage()
    executor.shutdown()
    assert len(heard.records) == 2


@pytest.mark.slow
def test_the_last_words_of_a_worker_are_heard(pool_of: PoolOf, heard: Heard) -> None:
    """What was logged before a shutdown has been told when that is through."""
    with pool_of(1) as executor:
        executor.submit(tasks.log_something, logging.ERROR, "at last")
    assert [record.levelname for record in heard.records] == ["ERROR", "ERROR"]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, RelayHandler]]:
    """A relay within this process."""
    relay = make_relay()
    assert relay is not None
    ours, theirs = relay
    yield ours, RelayHandler(theirs)
    ours.close()
    theirs.close()


def record_of(words: str, **extra: Any) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "shop.tasks", "levelno": logging.WARNING, "msg": words, **extra}
    )


def test_a_long_message_is_cut(ends: tuple[socket.socket, RelayHandler], heard: Heard) -> None:
    """A message is sent whole or not at all, so it has to be of a size that can be sent."""
    ours, handler = ends
    handler.emit(record_of("x" * 10 * LONGEST, attachment=bytes(10 * LONGEST)))
    relay_records(ours)
    assert heard.records[0].getMessage() == "x" * LONGEST
    assert not hasattr(heard.records[0], "attachment")


def test_an_extra_that_cannot_be_sent_is_left_out(
    ends: tuple[socket.socket, RelayHandler], heard: Heard
) -> None:
    """The message is what counts."""
    ours, handler = ends
    handler.emit(record_of("sent", lock=threading.Lock()))
    relay_records(ours)
    assert heard.records[0].getMessage() == "sent"


def test_an_extra_that_cannot_be_rebuilt_is_left_out(
    ends: tuple[socket.socket, RelayHandler], heard: Heard
) -> None:
    """Here, as it is there: the record comes all the same."""
    ours, handler = ends
    handler.emit(record_of("sent", box=tasks.ExplodesAtHome(home=-1)))
    relay_records(ours)
    assert heard.records[0].getMessage() == "sent"
    assert not hasattr(heard.records[0], "box")


def test_a_handler_that_raises_keeps_no_record_from_the_others(
    ends: tuple[socket.socket, RelayHandler],
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged for what it is, no error of the pool."""
    ours, handler = ends
    emit = heard.emit

    def stumble(record: logging.LogRecord) -> None:
        if record.getMessage() == "first":
            raise ValueError(record.getMessage())
        emit(record)

    monkeypatch.setattr(heard, "emit", stumble)
    handler.emit(record_of("first"))
    handler.emit(record_of("second"))
    relay_records(ours)
    assert [record.getMessage() for record in heard.records] == ["second"]
    assert "What a task has logged could not be logged here" in caplog.text


def test_a_message_that_cannot_be_made_harms_no_task(
    ends: tuple[socket.socket, RelayHandler],
    heard: Heard,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As with every handler of the standard library: it is reported on standard error."""
    ours, handler = ends
    handler.emit(record_of("%d", args=("no number",)))
    relay_records(ours)
    assert heard.records == []
    assert "Logging error" in capsys.readouterr().err


def test_an_owner_that_does_not_read_stops_no_task(
    monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    """What it has no room for is lost; and so is all when it is gone."""
    monkeypatch.setattr(log_relay, "TIMEOUT", 0.001)
    relay = make_relay()
    assert relay is not None
    ours, theirs = relay
    with theirs:
        handler = RelayHandler(theirs)
        for _ in range(50):
            handler.emit(record_of("x" * LONGEST))
        with ours:
            relay_records(ours)
            assert 0 < len(heard.records) < 50
        handler.emit(record_of("to nobody"))
        relay_records(ours)


def test_where_sockets_keep_no_messages_apart_there_is_no_relay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers log to standard error then."""
    monkeypatch.delattr(socket, "SOCK_SEQPACKET")
    assert make_relay() is None


def test_only_levels_that_were_set_cross(heard: Heard) -> None:
    """The others follow from them, there as here."""
    levels = levels_here()
    assert levels["shop"] == logging.INFO
    assert "shop.tasks" not in levels
    assert levels[None] == logging.root.level
