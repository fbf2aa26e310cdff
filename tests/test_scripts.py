"""The verbs in ``scripts/``: they parse, refuse clearly, and report honestly."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASH = shutil.which("bash") or "bash"
SCRIPTS = [
    path
    for path in (*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run")
    if path.is_file() and path.read_text().startswith("#!/usr/bin/env bash")
]
PYTHONS = ["python3.14", "python3.13", "python3.12", "python3.11", "python3"]


def put(path: Path, text: str) -> None:
    """Write an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{BASH}\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the scripts, in a repository without environment, whose install does nothing."""
    house = tmp_path / "house"
    shutil.copytree(ROOT / "scripts", house / "scripts")
    shutil.copytree(ROOT / ".ci", house / ".ci")
    put(house / "scripts" / "install", "exit 0")
    return house


@pytest.fixture
def install(tmp_path: Path) -> Path:
    """A copy of ``scripts/install``, in a repository that holds nothing else."""
    script = tmp_path / "house" / "scripts" / "install"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install", script)
    return script


def run(
    script: Path, *arguments: str, path: str = "", only: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a script from another directory, with ``path`` before PATH or ``only`` instead of it."""
    return subprocess.run(
        [BASH, str(script), *arguments],
        cwd="/",
        env={**os.environ, "PATH": only or f"{path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_parses_and_can_be_called(script: Path) -> None:
    """Bash reads it to the end, it stops at the first error, and it is executable."""
    parsed = subprocess.run([BASH, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (parsed.returncode, parsed.stderr) == (0, "")
    assert "set -euo pipefail" in script.read_text()
    assert os.access(script, os.X_OK)


def test_install_refuses_a_python_that_is_too_old(install: Path, tmp_path: Path) -> None:
    """One line that says what is missing and how to get it, and no environment half made."""
    for name in PYTHONS:
        put(tmp_path / "old" / name, "exit 1")
    ended = run(install, path=str(tmp_path / "old"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("install: no Python 3.11 or newer on PATH. Install one")
    assert ended.stderr.count("\n") == 1
    assert not (install.parent.parent / ".venv").exists()


def lock(house: Path, versions: str) -> None:
    """Write what ``scripts/install`` reads."""
    (house / "requirements").mkdir(exist_ok=True)
    (house / "pyproject.toml").write_text("one")
    (house / "requirements" / "dev.txt").write_text(versions)
    (house / "requirements" / "uv.txt").write_text("uv")


def test_install_does_nothing_when_nothing_changed(install: Path, tmp_path: Path) -> None:
    """A stamp of pyproject.toml and the locked versions spares the second run every command."""
    house = install.parent.parent
    lock(house, "two")
    put(house / ".venv" / "bin" / "python", "exit 0")
    put(tmp_path / "bin" / "uv", f'echo "$@" >>{tmp_path}/calls')
    first = run(install, path=str(tmp_path / "bin"))
    second = run(install, path=str(tmp_path / "bin"))
    lock(house, "three")
    third = run(install, path=str(tmp_path / "bin"))
    assert (first.returncode, second.returncode, third.returncode) == (0, 0, 0)
    assert second.stdout == ""
    assert (tmp_path / "calls").read_text().splitlines() == [
        "pip install --quiet --python .venv/bin/python --require-hashes -r requirements/dev.txt",
        "pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .",
    ] * 2


@pytest.mark.parametrize("uv_can_be_had", [True, False])
def test_install_needs_no_uv_beforehand(install: Path, tmp_path: Path, uv_can_be_had: bool) -> None:
    """Without uv, pip fetches the locked one; if it cannot, pip installs all, hashes checked."""
    house, tools = install.parent.parent, tmp_path / "tools"
    tools.mkdir()
    for name in ("cat", "cksum", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or name)
    lock(house, "two")
    uv = house / ".venv" / "bin" / "uv"
    put(tmp_path / "uv", f'echo "uv $@" >>{tmp_path}/calls')
    fetch = f"/bin/cp {tmp_path}/uv {uv}" if uv_can_be_had else "exit 1"
    put(
        house / ".venv" / "bin" / "python",
        f'echo "python $@" >>{tmp_path}/calls; case "$*" in *uv.txt) {fetch};; esac',
    )
    ended = run(install, only=str(tools))
    assert ended.returncode == 0, ended.stderr
    pip = "python -m pip install --quiet --disable-pip-version-check"
    then = "uv pip install --quiet --python .venv/bin/python" if uv_can_be_had else pip
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if " -c " not in call] == [
        f"{pip} --require-hashes -r requirements/uv.txt",
        f"{then} --require-hashes -r requirements/dev.txt",
        f"{then} --no-deps --no-build-isolation --editable .",
    ]


def test_install_that_fails_says_so_and_tries_again(install: Path, tmp_path: Path) -> None:
    """One line names the file that could not be installed, and the next run does not skip it."""
    house = install.parent.parent
    lock(house, "two")
    put(house / ".venv" / "bin" / "python", "exit 0")
    put(tmp_path / "bin" / "uv", "exit 1")
    first = run(install, path=str(tmp_path / "bin"))
    second = run(install, path=str(tmp_path / "bin"))
    assert (first.returncode, second.returncode) == (1, 1)
    assert "could not install the packages of requirements/dev.txt" in second.stderr


def test_install_names_the_options_it_knows(install: Path) -> None:
    """A typing error is refused before anything is installed."""
    ended = run(install, "--browsers")
    assert ended.returncode == 1
    assert "unknown option '--browsers'. Known are --browser, --redis and --suites." in ended.stderr


def test_install_goes_on_without_the_suites_of_others(install: Path, tmp_path: Path) -> None:
    """They are no part of what the project needs: it says that ours skip them, and succeeds."""
    house = install.parent.parent
    lock(house, "flask==9 \\\n    --hash=sha256:0")
    put(house / ".venv" / "bin" / "python", 'case "$*" in *" download "*) exit 1;; esac')
    put(tmp_path / "bin" / "uv", "exit 0")
    put(tmp_path / "bin" / "apt-get", "exit 100")
    put(tmp_path / "bin" / "dpkg-deb", "exit 0")
    ended = run(install, "--suites", path=str(tmp_path / "bin"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "install: Flask's own tests cannot be had, so ours skip them" in ended.stdout
    assert "install: CPython's own tests cannot be had, so ours skip them" in ended.stdout
    assert (house / ".foreign" / "flask.txt").read_text() == "flask==9 \\\n    --hash=sha256:0\n"


def test_check_runs_every_step_and_fails_if_one_does(house: Path) -> None:
    """A lint error does not hide a type error: one line for each, then the details."""
    tools = house / ".venv" / "bin"
    put(tools / "ruff", '[ "$1" = format ] || { echo "x.py:1: unused"; exit 1; }')
    put(tools / "mypy", "echo Success")
    put(tools / "lint-imports", "echo kept")
    ended = run(house / "scripts" / "check")
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == [
        "ok      format",
        "failed  lint",
        "        x.py:1: unused",
        "ok      types",
        "ok      layers",
    ]


@pytest.mark.parametrize(
    "verb", [["scripts/test"], ["scripts/test", "--coverage"], [".ci/run"]], ids=" ".join
)
def test_the_verdict_of_pytest_is_the_last_word(house: Path, verb: list[str]) -> None:
    """Its last line comes last, and its status is ours: no failed run looks like a good one."""
    put(
        house / ".venv" / "bin" / "python",
        'case "$*" in *report*) echo "TOTAL 90%";; *) echo "1 failed, 2 passed"; exit 3;; esac',
    )
    ended = run(house / verb[0], *verb[1:])
    assert ended.returncode == 3
    assert ended.stdout.splitlines()[-1] == "1 failed, 2 passed"


@pytest.mark.parametrize(
    ("arguments", "shared"),
    [
        ([], True),
        (["-m", "not slow"], True),
        (["tests"], False),
        (["tests/one.py::test_it[1::2]", "-x"], False),
        (["--coverage"], False),
    ],
    ids=str,
)
def test_processes_share_the_tests_unless_some_are_named(
    house: Path, arguments: list[str], shared: bool
) -> None:
    """A developer who names some wants to see them in order; and coverage sees one process."""
    (house / "tests").mkdir()
    (house / "tests" / "one.py").touch()
    put(house / ".venv" / "bin" / "python", 'echo "$@"')
    said = run(house / "scripts" / "test", *arguments).stdout.splitlines()[0]
    assert ("-n 2 --dist loadfile" in said) is shared
    assert said.endswith(" ".join(arguments).removeprefix("--coverage"))
