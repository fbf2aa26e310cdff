"""Compare what became of a foreign suite's tests with what is said of them. Runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Difference:
    """A deliberate one: tests that must fail, and the sentence by which a user knows.

    :ivar tests: Their names, as a pattern of ``fnmatch``.
    :ivar failure: A regular expression for how they fail.
    :ivar page: The page of ``docs/`` that states the difference.
    :ivar sentence: The words that state it.
    :ivar always: ``False`` where the test passes or fails with the speed of the machine.
    """

    tests: str
    failure: str
    page: str
    sentence: str
    always: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake of ours that is to be mended, and then to be deleted from its list.

    :ivar tests: Their names, as a pattern of ``fnmatch``.
    :ivar failure: A regular expression for how they fail.
    :ivar what: What is wrong.
    """

    tests: str
    failure: str
    what: str
    always: bool = True


Entry = Difference | Fault


def compare(outcomes: Mapping[str, str], entries: Sequence[Entry]) -> list[str]:
    """Return which tests did something else than ``entries`` say, one text for each.

    :param outcomes: For each test ``"passed"``, ``"skipped"``, or ``"failed: "`` and why.
    """
    told = []
    for test, outcome in outcomes.items():
        said = [entry for entry in entries if fnmatchcase(test, entry.tests)]
        if outcome.startswith("failed"):
            if not any(re.search(entry.failure, outcome) for entry in said):
                told.append(f"{test} fails, and no list says that it fails so: {outcome}")
        elif outcome == "passed" and any(entry.always for entry in said):
            told.append(f"{test} passes. Delete what is said of it: {said}")
    return told


def outdated(tests: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """Return which entries are about no test at all."""
    return [
        f"There is no such test: {entry}"
        for entry in entries
        if not any(fnmatchcase(test, entry.tests) for test in tests)
    ]


def unstated(entries: Sequence[Entry], docs: Path = DOCS) -> list[str]:
    """Return which differences the documentation does not state."""
    return [
        f"docs/{entry.page} does not say: {entry.sentence}"
        for entry in entries
        if isinstance(entry, Difference)
        and entry.sentence not in " ".join((docs / entry.page).read_text().split())
    ]
