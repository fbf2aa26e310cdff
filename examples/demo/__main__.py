"""Run the demo in the foreground until Ctrl-C: ``python -m examples.demo``.

Decides what is printed and what stops it; which servers there are stands elsewhere.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from examples.demo.checking import check
from examples.demo.launching import launched
from examples.demo.origins import DEFAULT_PORT, LAST_PORT, Origins
from examples.demo.servers import DemoError, DemoStopped
from examples.demo.sizes import BLOCKING_THREADS, WORKERS

SERVERS_NEEDED = 5
STOPPING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, ``kill``, and a terminal that is closed; Windows lacks the last one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    :returns: The exit code: 0 when it was stopped, 1 when something failed, and the reason is
        printed.
    """
    options = _options(arguments)
    origins = Origins(options.port)
    try:
        with _until_stopped() as stopped, launched(origins, stopped) as started:
            if options.check:
                check(origins)
                print("Every part of the demo answers as it should.")
                return 0
            _introduce(origins)
            while not stopped.wait(1.0):
                started.check()
            print("\nStopping.", flush=True)
    except DemoStopped:
        print("\nStopped.", flush=True)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Give what a signal to stop sets; afterwards the signals do what they did before."""
    stopped = threading.Event()
    numbers = [getattr(signal, name) for name in STOPPING_SIGNALS if hasattr(signal, name)]
    before = [signal.signal(number, lambda _number, _frame: stopped.set()) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _introduce(origins: Origins) -> None:
    print(
        f"""
  Flask-Concurrency: four ways, running for real

    the page   {origins.page}     open this one
    the API    {origins.api}     another origin, {WORKERS} workers, {BLOCKING_THREADS} threads each
    stock      {origins.stock}     Flask alone, to compare with
    overload   {origins.without}     a small app, and on the next port with an adaptive limit

  Ctrl-C stops all of them.
""",
        flush=True,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./scripts/demo",
        description="Run the demo: a page, the API it calls, and stock Flask to compare with.",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="the page's port; the others use the four after it (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="start everything, see whether every part answers, and stop",
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    last = LAST_PORT - SERVERS_NEEDED + 1
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= last:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to {last}")
    return port


if __name__ == "__main__":
    sys.exit(main())
