"""A wrong option of the thread executor fails where it is written."""

from __future__ import annotations

import os
from typing import Any

import pytest

from flask_concurrency.executors.threads import ThreadExecutor
from flask_concurrency.executors.threads.options import default_workers
from flask_concurrency.vocabulary.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_workers": 0}, r"max_workers=0 .* 1 or more.*None for the default"),
        ({"max_workers": -1}, r"max_workers=-1 "),
        ({"max_workers": True}, r"max_workers=True "),
        ({"max_workers": 2.0}, r"max_workers=2\.0 "),
        ({"max_workers": "8"}, r"max_workers='8' "),
        ({"max_queue": -1}, r"max_queue=-1 .* 0 or more.*None for no bound"),
        ({"max_queue": False}, r"max_queue=False "),
        ({"max_queue": "many"}, r"max_queue='many' "),
        ({"when_full": "block"}, r"when_full='block' is unknown.*'refuse' .* 'wait'"),
        ({"when_full": None}, r"when_full=None "),
        ({"drain_timeout": -1}, r"drain_timeout=-1 .* 0 or more.*None to wait for all"),
        ({"drain_timeout": float("inf")}, r"drain_timeout=inf "),
        ({"drain_timeout": "30"}, r"drain_timeout='30' "),
        ({"drain_timeout": True}, r"drain_timeout=True "),
        ({"name": ""}, r"name='' is no name"),
        ({"name": 3}, r"name=3 is no name"),
        ({"carry": "request"}, r"carry='request' cannot be called"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_the_remedy(
    options: dict[str, Any], message: str
) -> None:
    """Truth values are no numbers, and text is not converted."""
    with pytest.raises(ConfigurationError, match=message):
        ThreadExecutor(**options)


@pytest.mark.parametrize(("processors", "workers"), [(None, 5), (1, 5), (2, 6), (28, 32), (99, 32)])
def test_the_default_size_is_that_of_the_standard_library(
    monkeypatch: pytest.MonkeyPatch, processors: int | None, workers: int
) -> None:
    """``min(32, processors + 4)``, one processor if their number is unknown."""
    monkeypatch.setattr(os, "process_cpu_count", lambda: processors, raising=False)
    assert default_workers() == workers
    assert ThreadExecutor().max_workers == workers


def test_an_executor_that_was_never_used_has_cost_no_thread() -> None:
    """Making one at import, as a module of an app does, starts nothing."""
    pool = ThreadExecutor(4, name="unused")
    assert pool.name == "unused"
    assert pool.snapshot().workers == 0
