"""What is logged on threads of ours harms none of them, whatever the application's logging does."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from flask_concurrency.vocabulary.safe_logger import SafeLogger

NAME = "flask_concurrency.tests"


def refuse(record: logging.LogRecord) -> bool:
    """Be a filter that wants what is not there, such as the request."""
    raise RuntimeError("Working outside of request context.")


@pytest.fixture
def failing() -> Iterator[SafeLogger]:
    """A logger with such a filter."""
    logging.getLogger(NAME).addFilter(refuse)
    yield SafeLogger(NAME)
    logging.getLogger(NAME).removeFilter(refuse)


def test_a_filter_that_raises_is_told_on_standard_error(
    failing: SafeLogger, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the standard library reports a handler that fails."""
    failing.warning("%r ended late", "task")
    assert "RuntimeError: Working outside of request context." in capsys.readouterr().err


def test_nothing_is_told_where_the_application_wants_no_such_news(
    failing: SafeLogger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``logging.raiseExceptions`` is its word on that."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    failing.warning("%r ended late", "task")
    assert capsys.readouterr().err == ""


def test_a_message_names_the_place_where_it_was_logged(caplog: pytest.LogCaptureFixture) -> None:
    """And the error in hand, as with any logger."""
    logger = SafeLogger(NAME)
    try:
        raise LookupError("lost")
    except LookupError:
        logger.exception("%s failed", "it")
    (record,) = caplog.records
    assert record.funcName == "test_a_message_names_the_place_where_it_was_logged"
    assert (record.name, record.getMessage()) == (NAME, "it failed")
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError
