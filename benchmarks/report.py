"""Print what was measured: tables for people (Markdown too), and records for machines.

Knows runs and their summary; measures nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.benchmark import Trial
from benchmarks.harness import Run
from benchmarks.summary import Ratio, Spread, compare, spread

FACTORS = {"µs": 1e6, "ms": 1e3, "MB": 1e-6}


def text_of(run: Run, *, compared: bool) -> str:
    """A run as text: every subject's time, then the ratios.

    :param compared: Whether the ratios mean anything.
    """
    lines = [f"{run.benchmark.name}: {run.benchmark.title}", "", *_table(_times(run))]
    if run.benchmark.comparisons and compared:
        lines += ["", *_table(_ratios(run))]
    lines += [f"FAILED {reason}" for reason in run.failures.values()]
    return "\n".join(lines) + "\n"


def tables_of(run: Run) -> dict[str, list[str]]:
    """A run's tables, as lines of Markdown."""
    return {"times": _table(_times(run)), "ratios": _table(_ratios(run))}


def trial_tables(rows: list[list[str]]) -> dict[str, list[str]]:
    """A trial's table, likewise."""
    return {"rows": _table(rows)}


def trial_text(trial: Trial, rows: list[list[str]]) -> str:
    """The rows of a trial as text."""
    return "\n".join([f"{trial.name}: {trial.title}", "", *_table(rows)]) + "\n"


def record_of(run: Run) -> dict[str, Any]:
    """A run as plain values, in seconds or bytes."""
    return {
        "name": run.benchmark.name,
        "title": run.benchmark.title,
        "subjects": {
            each.name: asdict(spread(run.seconds[each.name]))
            | {"rounds": len(run.seconds[each.name])}
            for each in run.benchmark.subjects
            if each.name in run.seconds
        },
        "comparisons": [
            asdict(found.comparison)
            | {
                "ours_seconds": found.ours,
                "peer_seconds": found.peer,
                "ratio": None if found.ratio is None else asdict(found.ratio),
                "reached": found.reached,
            }
            for found in _compared(run)
        ],
        "failures": run.failures,
    }


def _compared(run: Run) -> list[Ratio]:
    return [compare(run, each) for each in run.benchmark.comparisons]


def _times(run: Run) -> list[list[str]]:
    unit, base = run.benchmark.unit, run.benchmark.base
    rows = [["", f"median {unit}", "quartiles", "minimum"]]
    base_median = None
    if base in run.seconds:
        base_median = spread(run.seconds[base]).median
        rows[0].append("added")
    targets = any(each.at_most is not None for each in run.benchmark.subjects)
    if targets:
        rows[0] += ["target", "reached"]
    for subject in (each for each in run.benchmark.subjects if each.name in run.seconds):
        name, found = subject.name, spread(run.seconds[subject.name])
        row = [
            name,
            _time(found.median, unit),
            f"{_time(found.lower, unit)} … {_time(found.upper, unit)}",
            _time(found.minimum, unit),
        ]
        if base_median is not None:
            row.append("" if name == base else f"{_time(found.median - base_median, unit, '+')}")
        if targets:
            row += _target(found.median, subject.at_most, unit)
        rows.append(row)
    return rows


def _target(found: float, at_most: float | None, unit: str) -> list[str]:
    if at_most is None:
        return ["", ""]
    return [f"≤ {_time(at_most, unit)}", "yes" if found <= at_most else "no"]


def _ratios(run: Run) -> list[list[str]]:
    unit = run.benchmark.unit
    over = " (added)" if run.benchmark.base is not None else ""
    rows = [["", f"ours {unit}", f"peer {unit}", "ratio", "quartiles", "target", "reached"]]
    for found in _compared(run):
        comparison = found.comparison
        name = f"{comparison.name}{over if comparison.over else ''}"
        target = "" if comparison.at_most is None else f"≤ {_ratio(comparison.at_most)}"
        if found.ratio is None or found.ours is None or found.peer is None:
            rows.append([name, "", "", "not measured", "", target, ""])
            continue
        rows.append(
            [
                name,
                _time(found.ours, unit),
                _time(found.peer, unit),
                _ratio(found.ratio.median),
                _quartiles(found.ratio),
                target,
                {True: "yes", False: "no", None: ""}[found.reached],
            ]
        )
    return rows


def _quartiles(ratio: Spread) -> str:
    return f"{_ratio(ratio.lower)} … {_ratio(ratio.upper)}"


def _time(seconds: float, unit: str, sign: str = "") -> str:
    value = seconds * FACTORS[unit]
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 1_000 else 0
    return f"{value:{sign},.{digits}f}"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _table(rows: list[list[str]]) -> list[str]:
    """Aligned columns that Markdown reads as a table: one of words, the rest of numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    drawn = [
        "| "
        + " | ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = [
        "-" * (width + 2) if not n else "-" * (width + 1) + ":" for n, width in enumerate(widths)
    ]
    return [drawn[0], f"|{'|'.join(rule)}|", *drawn[1:]]
