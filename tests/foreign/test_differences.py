"""A list of differences is held to what the tests do, in both directions."""

from __future__ import annotations

from pathlib import Path

import differences

SAID = differences.Difference("Pool.test_b", "Refused", "pools.md", "A full pool refuses.")
FAULT = differences.Fault("Pool.test_a*", "TypeError", "It takes no such argument.")
AS_SAID = {
    "Pool.test_a1": "failed: TypeError: no",
    "Pool.test_b": "failed: Refused: 3 of 3",
    "Pool.test_c": "passed",
    "Pool.test_d": "skipped",
}


def told(**outcomes: str) -> list[str]:
    """The message where some tests do something else than the lists say."""
    changed = {f"Pool.test_{name}": outcome for name, outcome in outcomes.items()}
    found: list[str] = differences.compare({**AS_SAID, **changed}, [SAID, FAULT])
    return found


def test_nothing_is_told_where_all_is_as_the_lists_say() -> None:
    """Tests that pass, that are skipped, and that fail as they should."""
    assert told() == []


def test_a_failure_that_no_list_has_is_told() -> None:
    """With the reason, so that the log of CI says what broke."""
    assert told(c="failed: ValueError: 3") == [
        "Pool.test_c fails, and no list says that it fails so: failed: ValueError: 3"
    ]


def test_a_listed_test_that_fails_in_another_way_is_told() -> None:
    """A difference in one respect does not excuse others."""
    (text,) = told(b="failed: TimeoutError: ")
    assert text.startswith("Pool.test_b fails, and no list says that it fails so")


def test_a_listed_test_that_passes_is_told() -> None:
    """Whether it was a fault or deliberate: its line must go, or it would hide a later failure."""
    for name in ("a1", "b"):
        (text,) = told(**{name: "passed"})
        assert text.startswith(f"Pool.test_{name} passes. Delete what is said of it")


def test_a_test_that_depends_on_speed_may_do_either() -> None:
    """Only one that is said to do so."""
    slow = differences.Fault("Pool.test_a*", "TypeError", "It takes long.", always=False)
    assert differences.compare({"Pool.test_a1": "passed"}, [slow]) == []
    assert differences.compare({"Pool.test_a1": "failed: TypeError"}, [slow]) == []


def test_a_line_about_no_test_is_told() -> None:
    """A suite that has dropped or renamed a test leaves no line behind."""
    assert differences.outdated(list(AS_SAID), [SAID, FAULT]) == []
    assert differences.outdated(["Pool.test_a1"], [SAID, FAULT]) == [
        f"There is no such test: {SAID}"
    ]


def test_a_difference_that_no_page_states_is_told(tmp_path: Path) -> None:
    """However the page breaks its lines."""
    (tmp_path / "pools.md").write_text("Pools\n\nA full\npool refuses. It is bounded.\n")
    assert differences.unstated([SAID, FAULT], tmp_path) == []
    (tmp_path / "pools.md").write_text("A full pool waits.")
    assert differences.unstated([SAID, FAULT], tmp_path) == [
        "docs/pools.md does not say: A full pool refuses."
    ]
