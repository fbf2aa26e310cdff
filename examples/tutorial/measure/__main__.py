"""Print what each chapter of the tutorial does, its way and ours, in one run.

``python -m examples.tutorial.measure`` prints all chapters, ``... measure 3`` one of them.
Needs the project's development environment.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module

CHAPTERS = {"1": "limits", "2": "threads", "3": "processes", "4": "async"}


def main(arguments: list[str]) -> None:
    """Print the chapters named, or all.

    :raises SystemExit: A chapter is unknown.
    """
    chosen = arguments or list(CHAPTERS)
    for number in chosen:
        if number not in CHAPTERS:
            raise SystemExit(f"No chapter {number!r}: name some of {', '.join(CHAPTERS)}.")
    logging.disable(logging.ERROR)  # the tracebacks of views that fail on purpose
    for number in chosen:
        chapter = import_module(f"examples.tutorial.measure.chapter{number}_{CHAPTERS[number]}")
        print(f"Chapter {number}: {CHAPTERS[number]}\n")
        for figure in chapter.figures():
            print(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
