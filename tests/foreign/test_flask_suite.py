"""Flask's own tests, with the extension on every app, and by way of ``asgi_app``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import differences
from differences import Difference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

OWN_CONTEXT = "Each request starts with empty context variables, whatever the server left there."
STREAM_ON_ANOTHER_THREAD = "tests/test_helpers.py::TestStreaming::test_async_view"
"""Left out on ASGI. With ``with client:`` the test pushes the context of a request whose body still
has it pushed, which by way of a server is in another thread: Flask pops it in whichever order the
two come. The test leaves the context behind for all tests after it."""

NOT_ON_ASGI = [
    Difference(
        "tests/test_appctx.py::test_app_tearing_down_with_handled_exception_by_app_handler",
        r"\[None, None\] == \[None\]",
        "explanation/asgi.md",
        OWN_CONTEXT,
    ),
    Difference(
        "tests/test_appctx.py::test_app_tearing_down_with_unhandled_exception",
        "assert 2 == 1",
        "explanation/asgi.md",
        OWN_CONTEXT,
    ),
]
FREED_LATER = [
    Difference(
        "tests/test_basic.py::test_app_freed_on_zero_refcount",
        r"assert <Flask 'test_basic'> is None",
        "explanation/what-we-change.md",
        "the garbage collector frees both, and not the last reference to the app.",
    ),
]
LISTS: dict[str, list[Difference]] = {
    "extension": [*FREED_LATER],
    "limits": [*FREED_LATER],
    "asgi": [*NOT_ON_ASGI, *FREED_LATER],
    "loop": [*NOT_ON_ASGI, *FREED_LATER],
    "direct": [*NOT_ON_ASGI, *FREED_LATER],
}


@pytest.fixture(scope="module")
def runs(flask_suite: Path, start: Any) -> dict[str, Any]:
    """The suite in all its ways, side by side; see ``flask_plugin``."""
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    pytest_ += ["-p", "flask_plugin", "--timeout=60", "tests"]
    left_out = {
        way: [f"--deselect={STREAM_ON_ANOTHER_THREAD}"] for way in ("asgi", "loop", "direct")
    }
    return {
        way: start(
            way, [*pytest_, *left_out.get(way, [])], path=[], cwd=flask_suite, FLASK_SUITE=way
        )
        for way in ("stock", *LISTS)
    }


@pytest.mark.parametrize("way", LISTS)
def test_flask_keeps_what_its_own_tests_ask(way: str, runs: dict[str, Any]) -> None:
    """A test fails only where it does without the extension, or where a list says so."""
    stock, outcomes = runs["stock"].outcomes(), runs[way].outcomes()
    anyway = {test for test, outcome in stock.items() if outcome.startswith("failed")}
    ran = {test: outcome for test, outcome in outcomes.items() if outcome != "skipped"}
    assert len(ran) > 400
    assert len(anyway) < 5, f"Flask's own tests fail without the extension: {anyway}"
    compared = {test: outcome for test, outcome in outcomes.items() if test not in anyway}
    assert differences.compare(compared, LISTS[way]) == []
    assert differences.outdated(list(outcomes), LISTS[way]) == []


def test_the_docs_state_every_difference() -> None:
    """A user who adds the extension, or moves an app to ASGI, can read of it."""
    assert differences.unstated([*NOT_ON_ASGI, *FREED_LATER]) == []
