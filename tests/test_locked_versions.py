"""The locked versions in ``requirements/``: hashed, named by no address, and those we ask for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(file: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each requirement of a file with its hashes."""
    text = re.sub(r"^ *#.*\n", "", file.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split(" --hash=")
        yield Requirement(requirement.strip()), [each.strip() for each in hashes]


def installed_with(requirement: Requirement, known: set[str]) -> set[str]:
    """The names of what comes with a requirement, of those that are installed here."""
    for name in {"", *requirement.extras}:
        key = f"{canonicalize_name(requirement.name)}[{name}]"
        if key in known:
            continue
        known.add(key)
        for text in metadata.requires(requirement.name) or ():
            each = Requirement(text)
            if each.marker is None or each.marker.evaluate({"extra": name}):
                installed_with(each, known)
    return {key.partition("[")[0] for key in known}


def asked_for() -> Iterator[Requirement]:
    """Yield what pyproject.toml asks for, in every table."""
    project = PROJECT["project"]
    tables = [
        PROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    for table in tables:
        yield from (Requirement(each) for each in table if isinstance(each, str))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_package_is_pinned_with_its_hashes(file: Path) -> None:
    """An installer fetches the very files that were locked, or nothing."""
    packages = list(locked(file))
    assert packages
    for requirement, hashes in packages:
        assert [each.operator for each in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), requirement


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_address_is_locked(file: Path) -> None:
    """The index is that of the machine: no line names a host, a file or another index."""
    for line in file.read_text().splitlines():
        assert "//" not in line
        assert re.match(r"[A-Za-z0-9]| +(#|--hash=)|#", line), line


def test_what_is_asked_for_is_locked() -> None:
    """A package added to pyproject.toml, or a raised bound, is locked in the same commit."""
    pins: dict[str, list[Version]] = defaultdict(list)
    for file in FILES:
        for requirement, _ in locked(file):
            (pin,) = requirement.specifier
            pins[canonicalize_name(requirement.name)].append(Version(pin.version))
    missing = [
        str(wanted)
        for wanted in asked_for()
        if not (found := pins[canonicalize_name(wanted.name)])
        or any(pin not in wanted.specifier for pin in found)
    ]
    assert not missing, "run scripts/lock"


@pytest.mark.parametrize(
    ("extra", "module"),
    [
        ("redis", "flask_concurrency.jobs.redis_ledger"),
        ("celery", "kombu.transport.redis"),
        ("celery", "flask_concurrency.flask_app.jobs.celery_engine"),
    ],
)
def test_an_extra_brings_all_that_it_imports(extra: str, module: str) -> None:
    """It can be imported where nothing else is installed."""
    project = PROJECT["project"]
    brought: set[str] = {canonicalize_name(project["name"])}
    for text in [*project["dependencies"], *project["optional-dependencies"][extra]]:
        brought |= installed_with(Requirement(text), set())
    missing = [
        name
        for name, distributions in metadata.packages_distributions().items()
        if brought.isdisjoint(map(canonicalize_name, distributions))
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {module}"
    subprocess.run([sys.executable, "-c", code], check=True)
