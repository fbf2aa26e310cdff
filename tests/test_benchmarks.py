"""The benchmarks run, and their record names no machine. No time they measure decides a test."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks import growth_chart
from benchmarks.benchmark import Benchmark, Comparison, Subject
from benchmarks.command import catalogue, named, trials
from benchmarks.harness import Run
from benchmarks.overload.chart import DARK as OVERLOAD_DARK
from benchmarks.overload.chart import LIGHT as OVERLOAD_LIGHT
from benchmarks.overload.chart import curves
from benchmarks.overload.chart import draw as draw_overload
from benchmarks.overload.open_loop import Phase, Sample, figures, schedule
from benchmarks.page import KINDS, Page
from benchmarks.report import record_of, text_of
from benchmarks.summary import compare, spread
from benchmarks.svg import Colours
from benchmarks.tables import journeys
from benchmarks.tables.which_for_what import COUNTS, WAYS, WORKS, possible
from benchmarks.which_for_what_chart import DARK, LIGHT, draw, read_ratios

ROOT = Path(__file__).parents[1]
GIVES_UP_AFTER = 200.0
"""Seconds. The longest take ten where nothing else runs, and forty on a machine with much to do."""

ALL = "ALL_BENCHMARKS" in os.environ
"""Whether each is tried; else one of each table that is quick, since all take the tests minutes."""
LONG = {"growth", "job-idle", "job-rescue", "memory", "overload", "overload-workers"}
LONG |= {"redis-outage", "start", "tune", "which-for-what"}
"""Benchmarks that take ten seconds and more to show that they run."""


def chosen(table_of: Mapping[str, str]) -> list[str]:
    """The names that are tried, of benchmarks and the tables that have them."""
    one_of_each = {at: name for name, at in table_of.items() if name not in LONG}
    return list(table_of) if ALL else list(one_of_each.values())


pytestmark = pytest.mark.timeout(GIVES_UP_AFTER + 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", chosen({name: at for name, (at, _) in catalogue().items()}))
def test_every_subject_is_measured(name: str, tmp_path: Path) -> None:
    """None fails, none gives a wrong answer, and each has a positive median."""
    result = _quick_run(name, tmp_path)
    [benchmark] = result["benchmarks"]
    assert benchmark["failures"] == {}
    _, known = catalogue()[name]
    assert list(benchmark["subjects"]) == [subject.name for subject in known.subjects]
    for found in benchmark["subjects"].values():
        assert found["median"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", chosen({name: trial.run.__module__ for name, trial in trials().items()})
)
def test_every_trial_fills_its_table(name: str, tmp_path: Path) -> None:
    """Every row has a cell for each head, and there is more than the heads."""
    [trial] = _quick_run(name, tmp_path)["trials"]
    heads, *rows = trial["rows"]
    assert rows
    assert {len(row) for row in rows} == {len(heads)}


@pytest.mark.slow
def test_the_record_says_with_what_it_was_measured_but_not_where(tmp_path: Path) -> None:
    """Versions and processors, but no host name and no path."""
    result = _quick_run("store-1", tmp_path)
    machine = result["machine"]
    assert machine["python"].endswith(platform.python_version())
    assert machine["processors"] == os.cpu_count()
    assert machine["packages"]["Flask"]
    text = json.dumps(result)
    for secret in (platform.node(), str(ROOT), str(Path.home())):
        assert secret not in text


@pytest.mark.parametrize("name", list(catalogue()))
def test_comparisons_name_subjects_of_their_benchmark(name: str) -> None:
    """One that names another would be reported as not measured for ever."""
    _, benchmark = catalogue()[name]
    known = {subject.name for subject in benchmark.subjects}
    assert len(known) == len(benchmark.subjects)
    for comparison in benchmark.comparisons:
        assert {comparison.ours, comparison.peer, comparison.over or comparison.peer} <= known
    assert benchmark.base is None or benchmark.base in known


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("workers", ["workers-memory", "workers-replaced", "workers-deadline"]),
        ("async", ["async"]),
        ("work", []),
    ],
)
def test_a_beginning_stands_for_all_that_begin_so(name: str, found: list[str]) -> None:
    """Up to a hyphen; a whole name stands for itself alone."""
    assert named(name, catalogue()) == found


SVG = "{http://www.w3.org/2000/svg}"


def _subject(name: str) -> Subject:
    return Subject(name, open=lambda: pytest.fail("nothing is opened"))


PAIR = Benchmark(
    "pair",
    "two subjects over a base",
    (_subject("base"), _subject("ours"), _subject("peer")),
    (Comparison("added", "ours", "peer", over="base", at_most=0.5),),
    base="base",
)


def test_a_ratio_is_formed_within_each_round() -> None:
    """A neighbour that slows one round down tenfold slows both sides of its ratio."""
    run = Run(
        PAIR,
        {
            "base": [10e-6, 100e-6, 10e-6],
            "ours": [15e-6, 150e-6, 15e-6],
            "peer": [30e-6, 300e-6, 30e-6],
        },
    )
    found = compare(run, PAIR.comparisons[0])
    assert found.ratio is not None
    assert (found.ratio.lower, found.ratio.upper) == pytest.approx((0.25, 0.25))
    assert found.ours == pytest.approx(5e-6)
    assert found.peer == pytest.approx(20e-6)
    assert found.reached is True
    assert "+5.00" in text_of(run, compared=True)


def test_a_missed_target_is_told() -> None:
    """The table says no where the ratio is above it."""
    run = Run(PAIR, {"base": [1e-6], "ours": [4e-6], "peer": [5e-6]})
    assert compare(run, PAIR.comparisons[0]).reached is False
    assert text_of(run, compared=True).rstrip().endswith("no |")


@pytest.mark.parametrize(("seconds", "told"), [(0.010, "yes"), (0.030, "no")])
def test_a_target_that_is_a_time_is_told_beside_it(seconds: float, told: str) -> None:
    """Not every target is a ratio to a peer."""
    subject = Subject("ours", open=lambda: pytest.fail("nothing is opened"), at_most=0.025)
    run = Run(Benchmark("alone", "no peer", (subject,), unit="ms"), {"ours": [seconds]})
    text = text_of(run, compared=True)
    assert "≤ 25.0" in text
    assert text.rstrip().endswith(f"{told} |")


def test_memory_is_told_in_megabytes() -> None:
    """A benchmark whose calls measure by themselves may measure bytes."""
    run = Run(Benchmark("memory", "bytes", (_subject("ours"),), unit="MB"), {"ours": [12.5e6]})
    assert "median MB" in text_of(run, compared=True)
    assert "12.5" in text_of(run, compared=True)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_the_chart_has_a_curve_for_every_way_that_suits_a_work(colours: Colours) -> None:
    """Each has a point for every number of tasks, and a label that lies on no other."""
    _, benchmark = catalogue()["which-for-what"]
    seconds = {subject.name: [0.5] for subject in benchmark.subjects}
    record = {"benchmarks": [record_of(Run(benchmark, seconds))]}
    ways = [(work, way) for work in WORKS for way in list(WAYS)[1:] if possible(work, way)]

    ratios = read_ratios(record)
    drawing = ElementTree.fromstring(draw(ratios, colours))

    assert list(ratios) == ways
    assert {ratio for values in ratios.values() for ratio in values} == {1.0}
    assert len(drawing.findall(f"{SVG}polyline")) == len(ways)
    assert len(drawing.findall(f"{SVG}circle")) == len(ways) * len(COUNTS)
    labels = [text for text in drawing.findall(f"{SVG}text") if (text.text or "").endswith("1.00")]
    assert len({(text.get("x"), text.get("y")) for text in labels}) == len(ways)


def test_a_record_without_the_curves_is_no_chart() -> None:
    """What was not measured is not drawn as if it were nothing."""
    with pytest.raises(KeyError):
        read_ratios({"benchmarks": []})


def test_a_subject_that_failed_is_not_compared() -> None:
    """Its reason stands below the table, and no ratio is made up."""
    run = Run(PAIR, {"base": [1e-6], "ours": [2e-6]}, {"peer": "peer: not installed"})
    found = compare(run, PAIR.comparisons[0])
    assert (found.ratio, found.reached) == (None, None)
    assert "not measured" in text_of(run, compared=True)
    assert "FAILED peer: not installed" in text_of(run, compared=True)


def test_the_spread_of_a_single_value_is_that_value() -> None:
    """A quick run has few of them."""
    assert spread([3.0]) == spread([3.0, 3.0, 3.0])


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


def _quick_run(name: str, directory: Path) -> dict[str, Any]:
    path = directory / "result.json"
    run = _benchmarks(name, "--quick", "--json", str(path))
    assert run.returncode == 0, run.stdout + run.stderr
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def _benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GIVES_UP_AFTER,
        check=False,
    )


def test_the_curves_of_growth_are_those_of_the_table_beside_them() -> None:
    """A new table without a new picture, or the reverse, is found here."""
    page = (ROOT / "docs/explanation/what-it-costs.md").read_text(encoding="utf-8")
    curves = growth_chart.read_curves(page)
    assert all(len(curve.numbers) == len(curve.costs) > 2 for curve in curves)
    for name, colours in (
        ("growth.svg", growth_chart.LIGHT),
        ("growth-dark.svg", growth_chart.DARK),
    ):
        drawn = growth_chart.draw(curves, colours)
        assert (ROOT / "docs/images" / name).read_text(encoding="utf-8") == drawn
        assert len(ElementTree.fromstring(drawn).findall(f"{SVG}polyline")) == len(curves)


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ([(1, "call", "a"), (1, "call", "b"), (1, "return", "b"), (1, "return", "a")], (2, 2, 2)),
        ([(1, "call", "a"), (1, "call", "a"), (1, "return", "a"), (1, "return", "a")], (2, 1, 0)),
        ([(1, "call", "a"), (2, "call", "b"), (2, "return", "b"), (1, "return", "a")], (2, 2, 0)),
        ([(1, "return", "a"), (1, "call", "b"), (1, "return", "b")], (1, 1, 0)),
    ],
    ids=["there and back", "within a file", "two threads", "entered before"],
)
def test_a_change_of_file_is_a_call_or_a_return(
    steps: list[tuple[int, str, str]], counted: tuple[int, int, int]
) -> None:
    """Each thread is followed by itself: another one's calls lie between by chance."""
    assert journeys._counted(steps) == counted


def test_a_tracer_sees_the_calls_of_its_packages_alone() -> None:
    """What the standard library does on the way is no file to open."""
    with journeys.traced("benchmarks") as tracer:
        calls, files, changes = tracer.count(lambda: journeys.Tracer("benchmarks"))
    assert calls > 0
    assert files == 1
    assert changes == 0


def test_the_curves_of_the_guide_are_those_that_are_simulated() -> None:
    """The same on every machine, so the picture is never older than the guards."""
    found = curves()
    for name, colours in (("overload.svg", OVERLOAD_LIGHT), ("overload-dark.svg", OVERLOAD_DARK)):
        assert (ROOT / "docs" / "images" / name).read_text() == draw_overload(found, colours)


def test_the_generator_sends_on_time_and_counts_all() -> None:
    """Instants are drawn beforehand; what is not answered counts as that."""
    phases = [Phase(100.0, 1.0), Phase(300.0, 1.0)]
    instants = schedule(phases, seed=1)
    assert instants == sorted(instants) == schedule(phases, seed=1)
    assert 60 <= sum(at < 1 for at in instants) <= 140
    assert 230 <= sum(at >= 1 for at in instants) <= 370
    samples = [Sample(0.5, 0.1, 200, "/"), Sample(0.6, 0.9, 200, "/"), Sample(0.7, 0.01, 503, "/")]
    samples += [Sample(0.8, 2.0, 0, "/"), Sample(5.0, 0.1, 200, "/")]
    found = figures(samples, 0.0, 1.0, deadline=0.5)
    assert found[:5] == (4.0, 1.0, 1.0, 1.0, 1.0)
    assert found.p99 == 0.9


def test_a_page_takes_the_tables_it_has_places_for(tmp_path: Path) -> None:
    """And says how busy the machine was; the rest of it stays."""
    path = tmp_path / "page.md"
    path.write_text(
        "# Page\n\n<!-- rates ratios -->\nold\n<!-- end -->\n"
        "text\n<!-- memory rows -->\n<!-- end -->\n"
    )
    page = Page(path)
    assert list(page.places()) == [("rates", "ratios"), ("memory", "rows")]
    for number in ("1", "2"):
        page.write("rates", {"ratios": [f"| {number} |"], "times": ["| 3 |"]}, (0.25, 1.0))
    first, _, rest = path.read_text().partition("<!-- end -->")
    assert first.startswith("# Page\n\n<!-- rates ratios -->\n| 2 |\n\n*2")
    assert first.endswith(", load 0.2 before and 1.0 after*\n")
    assert rest == "\ntext\n<!-- memory rows -->\n<!-- end -->\n"


def test_the_page_of_benchmarks_has_places_for_tables_that_there_are() -> None:
    """A benchmark has times and ratios, a trial rows."""
    places = list(Page(ROOT / "docs" / "benchmarks.md").places())
    assert len(places) > 20
    for name, kind in places:
        assert kind in (KINDS[:2] if name in catalogue() else KINDS[2:]), (name, kind)
        assert name in catalogue() or name in trials(), name
