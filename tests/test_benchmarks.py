"""The benchmarks run, and their record names no machine. No time they measure decides a test."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one quick run of every benchmark wrote."""
    path = tmp_path_factory.mktemp("benchmarks") / "result.json"
    run = _benchmarks("--quick", "--json", str(path))
    assert run.returncode == 0, run.stdout + run.stderr
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


@pytest.mark.slow
def test_every_subject_of_every_benchmark_is_measured(quick_run: dict[str, Any]) -> None:
    """None fails, and each has a positive median."""
    assert quick_run["benchmarks"]
    for benchmark in quick_run["benchmarks"]:
        assert benchmark["failures"] == {}
        assert len(benchmark["subjects"]) >= 2
        for name, found in benchmark["subjects"].items():
            assert found["median"] > 0, (benchmark["name"], name)


@pytest.mark.slow
def test_every_comparison_is_of_subjects_that_were_measured(quick_run: dict[str, Any]) -> None:
    """A comparison that names no subject would be reported as missing for ever."""
    for benchmark in quick_run["benchmarks"]:
        for comparison in benchmark["comparisons"]:
            named = {comparison["ours"], comparison["peer"], comparison["over"]} - {None}
            assert named <= set(benchmark["subjects"])


@pytest.mark.slow
def test_the_record_says_with_what_it_was_measured_but_not_where(quick_run: dict[str, Any]) -> None:
    """Versions and processors, but no host name and no path."""
    machine = quick_run["machine"]
    assert machine["python"].endswith(platform.python_version())
    assert machine["processors"] == os.cpu_count()
    assert machine["packages"]["Flask"]
    text = json.dumps(quick_run)
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


@pytest.mark.slow
def test_an_unknown_name_lists_the_known_ones() -> None:
    """A typing error ends at once, with the names to choose from."""
    run = _benchmarks("raets")
    assert run.returncode == 2
    assert "'raets'" in run.stderr
    assert "rates" in run.stderr.partition("choose from")[2]


@pytest.mark.slow
def test_a_result_that_cannot_be_written_stops_before_anything_runs(tmp_path: Path) -> None:
    """Minutes of measuring are not thrown away at the end."""
    run = _benchmarks("--json", str(tmp_path / "missing" / "result.json"))
    assert run.returncode == 2
    assert "No such file or directory" in run.stderr
    assert run.stdout == ""


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
