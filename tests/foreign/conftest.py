"""Find the suites of other projects, and run their parts, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FETCHED = HERE.parents[1] / ".foreign"
"""Where ``scripts/install --suites`` puts what the machine does not have."""
ENDS_WITHIN = 200.0
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LISTED = "3.11"
"""The CPython whose suite the list of differences is about."""

Start = Callable[..., "Run"]


class Run:
    """A part of a foreign suite that runs, and then what became of its tests."""

    def __init__(
        self, command: Sequence[str], log: Path, outcomes: Path, **options: object
    ) -> None:
        self._log, self._outcomes = log, outcomes
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
            )  # type: ignore[call-overload]

    def outcomes(self) -> dict[str, str]:
        """Wait for the end. Each test ``"passed"``, was ``"skipped"``, or ``"failed: …"``."""
        self.process.wait(ENDS_WITHIN)
        if not self._outcomes.exists():
            pytest.fail(f"It ended with {self.process.returncode}:\n{self._log.read_text()}")
        found: dict[str, str] = json.loads(self._outcomes.read_text())
        return found

    def end(self) -> None:
        """End it now, if it runs still, with all that it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start parts that run side by side, and end those that have not ended after the tests.

    ``start(name, command, path=[], **environment)``: what ``command`` finds in ``OUTCOMES`` is the
    file in which it has to leave its outcomes.
    """
    scratch = tmp_path_factory.mktemp("foreign")
    ours = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "PYTHON"))}
    with ExitStack() as running:

        def begin(
            name: str, command: Sequence[str], *, path: Sequence[Path], cwd: Path, **more: str
        ) -> Run:
            outcomes = scratch / f"{name}.json"
            found = os.pathsep.join(map(str, [*path, HERE]))
            environment = {**ours, **more, "PYTHONPATH": found, "OUTCOMES": str(outcomes)}
            environment |= {"TMPDIR": str(scratch), "XDG_RUNTIME_DIR": str(scratch)}
            run = Run(command, scratch / f"{name}.log", outcomes, cwd=cwd, env=environment)
            running.callback(run.end)
            return run

        yield begin


@pytest.fixture(scope="module")
def cpython_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with as much of CPython's package ``test`` as its tests of executors need."""
    if PYTHON != LISTED:
        pytest.skip(f"The list of differences is about CPython {LISTED}; this is {PYTHON}.")
    own = Path(sysconfig.get_path("stdlib"), "test")
    places = [own, Path(f"/usr/lib/python{PYTHON}/test"), FETCHED / f"cpython-{PYTHON}"]
    wanted = ["__init__.py", "support", "test_concurrent_futures.py"]
    package = tmp_path_factory.mktemp("cpython") / "test"
    package.mkdir()
    for name in wanted:
        place = next((place for place in places if (place / name).exists()), None)
        if place is None:
            pytest.skip(
                f"No test/{name} of CPython {PYTHON} in {', '.join(map(str, places))}: this Python "
                "came without its tests. On Debian, './scripts/install --suites' fetches them."
            )
        (package / name).symlink_to(place / name)
    return package.parent


@pytest.fixture(scope="module")
def flask_suite() -> Path:
    """The unpacked source distribution of the Flask that is installed."""
    suite = FETCHED / f"flask-{version('flask')}"
    if not (suite / "tests").is_dir():
        pytest.skip(
            f"No {suite}. './scripts/install --suites' fetches that of requirements/dev.txt."
        )
    return suite
