"""Read the command line, run what it asks for, print it. Measures and decides nothing itself."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.benchmark import Benchmark, Trial
from benchmarks.harness import FULL, QUICK, measure
from benchmarks.machine import describe_machine
from benchmarks.page import Page
from benchmarks.report import record_of, tables_of, text_of, trial_tables, trial_text

TABLES = (
    "benchmarks.tables.rates",
    "benchmarks.tables.added",
    "benchmarks.tables.thread_fan_out",
    "benchmarks.tables.process_fan_out",
    "benchmarks.tables.processes_large",
    "benchmarks.tables.async_views",
    "benchmarks.tables.asgi_views",
    "benchmarks.tables.asgi_servers",
    "benchmarks.tables.event_streams",
    "benchmarks.tables.workers",
    "benchmarks.tables.which_for_what",
    "benchmarks.tables.stores",
    "benchmarks.tables.redis",
    "benchmarks.tables.counting",
    "benchmarks.tables.dashboard",
    "benchmarks.tables.tune",
    "benchmarks.tables.journeys",
    "benchmarks.tables.memory",
    "benchmarks.tables.start",
    "benchmarks.tables.growth",
    "benchmarks.tables.redis_outage",
    "benchmarks.tables.overload",
    "benchmarks.tables.overload_demo",
    "benchmarks.tables.overload_moves",
    "benchmarks.tables.overload_admitted",
    "benchmarks.tables.jobs",
    "benchmarks.tables.job_workers",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks.

    :returns: ``0`` if every subject was measured, ``1`` if one failed, ``2`` for a wrong argument.
    """
    known, whole = catalogue(), trials()
    titles = {name: found.title for name, (_, found) in known.items()}
    titles |= {name: found.title for name, found in whole.items()}
    parser = _parser(titles)
    options = parser.parse_args(arguments)
    if options.page is not None and not Path(options.page).is_file():
        parser.error(f"--page {options.page}: there is no such page")
    chosen = [found for name in options.names for found in named(name, titles)] or list(titles)
    for name in options.names:
        if not named(name, titles):
            parser.error(f"no benchmark is called {name!r}; choose from: {', '.join(titles)}")
    if options.quick:
        _say("Quick: proves that every subject runs; the times mean nothing.")
    page = None if options.page is None else Page(Path(options.page))
    runs = []
    tried = []
    with _opened(parser, options.json) as file:
        for name in chosen:
            before = os.getloadavg()[0]
            if name in whole:
                rows = whole[name].run(options.quick)
                print(trial_text(whole[name], rows), flush=True)
                tried.append({"name": name, "title": titles[name], "rows": rows})
                tables = trial_tables(rows)
            else:
                table, benchmark = known[name]
                run = measure(table, benchmark, QUICK if options.quick else FULL, _say)
                print(text_of(run, compared=not options.quick), flush=True)
                runs.append(run)
                tables = tables_of(run)
            if page is not None:
                page.write(name, tables, (before, os.getloadavg()[0]))
        if file is not None:
            report = {
                "machine": describe_machine(),
                "quick": options.quick,
                "benchmarks": [record_of(run) for run in runs],
                "trials": tried,
            }
            json.dump(report, file, ensure_ascii=False, indent=2)
            file.write("\n")
    return 1 if any(run.failures for run in runs) else 0


def catalogue() -> dict[str, tuple[str, Benchmark]]:
    """Every benchmark by its name, with the module that holds it."""
    return {
        benchmark.name: (table, benchmark)
        for table in TABLES
        for benchmark in getattr(importlib.import_module(table), "BENCHMARKS", ())
    }


def named(name: str, known: Iterable[str]) -> list[str]:
    """The benchmarks that a name stands for: that one, or all that begin with it and a hyphen."""
    names = list(known)
    return [name] if name in names else [each for each in names if each.startswith(f"{name}-")]


def trials() -> dict[str, Trial]:
    """Everything that is measured as a whole, by its name."""
    modules = [importlib.import_module(table) for table in TABLES]
    return {trial.name: trial for module in modules for trial in getattr(module, "TRIALS", ())}


def _parser(titles: dict[str, str]) -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:<18} {title}" for name, title in titles.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description="Measure Flask-Concurrency beside its peers, in the same run.",
        epilog=f"benchmarks:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="what to run, or how its name begins; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="prove that all run; measures nothing")
    parser.add_argument("--json", metavar="FILE", help="write the result there too")
    parser.add_argument("--page", metavar="FILE", help="and into a page that has places for it")
    return parser


@contextmanager
def _opened(parser: argparse.ArgumentParser, path: str | None) -> Iterator[IO[str] | None]:
    """Open the result's file before anything runs: minutes of work must find a place to go."""
    if path is None:
        yield None
        return
    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed below
    except OSError as error:
        parser.error(f"--json {path}: {error.strerror}")
    with file:
        yield file


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
