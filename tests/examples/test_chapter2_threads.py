"""The second chapter's app returns what its five tasks returned, on every server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import requests
from flask import Flask


def test_five_tasks_run_at_the_same_time_and_return_in_order(
    load_chapter: Callable[[str], Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them gets past the barrier unless all five are inside."""
    app = load_chapter("chapter2_threads")
    all_inside = threading.Barrier(5)
    monkeypatch.setattr(
        "chapter2_threads.time", SimpleNamespace(sleep=lambda _: all_inside.wait(5))
    )

    answer = app.test_client().get("/?name=Ada")

    assert answer.json == [f"Task {num} is done for Ada" for num in range(5)]


def test_a_task_that_fails_fails_its_request(
    load_chapter: Callable[[str], Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is not told that all is done."""
    app = load_chapter("chapter2_threads")

    def fail(seconds: float) -> None:
        raise ValueError("the other side is down")

    monkeypatch.setattr("chapter2_threads.time", SimpleNamespace(sleep=fail))

    assert app.test_client().get("/").status_code == 500


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn-sync", "gunicorn-gthread", "granian"])
def test_on_a_real_server_five_tasks_on_threads_return_in_order(
    serve: Callable[..., str], server: str
) -> None:
    """The same from two workers, request after request."""
    url = serve("examples/tutorial/chapter2_threads", server, workers=2)

    for name in ("Ada", "Grace", "Mary"):
        answer = requests.get(url, params={"name": name}, timeout=10)
        assert answer.json() == [f"Task {num} is done for {name}" for num in range(5)]
