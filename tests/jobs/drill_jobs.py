"""Jobs for drills with real processes: each says in a file when it starts and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask_concurrency.jobs.attempt import ResultFile, current_job

SAYS = os.environ.get("DRILL_SAYS", os.devnull)


def say(event: str, process: int | None = None) -> None:
    """Append a line, which no kill can cut in two; of this process, if of no other."""
    job = current_job()
    assert job is not None
    line = f"{event} {job.id} {job.attempt} {process or os.getpid()}\n"
    file = os.open(SAYS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)


def quick(value: Any = None) -> Any:
    """Return the argument."""
    say("start")
    say("end")
    return value


def hold(gate: str) -> str:
    """Run until a file appears."""
    say("start")
    while not Path(gate).exists():
        time.sleep(0.005)
    say("end")
    return "held"


def first_time_hold(gate: str) -> str:
    """Run until a file appears, but for further attempts, which end at once."""
    job = current_job()
    assert job is not None
    return hold(gate if job.attempt == 1 else "/")


def work(milliseconds: float) -> int:
    """Take some time."""
    say("start")
    time.sleep(milliseconds / 1000)
    say("end")
    return os.getpid()


def spin() -> None:
    """Compute in C for ever."""
    say("start")
    sum(iter(int, 1))


def sleep_on() -> None:
    """Sleep for ever."""
    say("start")
    time.sleep(1_000_000)


def family() -> None:
    """Start a program and fork a child, and outlive neither."""
    if os.fork() == 0:
        say("forked")
        time.sleep(1_000_000)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
    say("program", child.pid)
    say("start")
    child.wait()


def poison() -> None:
    """Kill the process that runs it."""
    say("start")
    os.kill(os.getpid(), signal.SIGKILL)


def grow() -> int:
    """Take memory without end."""
    say("start")
    kept = []
    while True:
        kept.append(bytearray(b"x" * 10_000_000))
        time.sleep(0.001)


def leave() -> None:
    """End the process that runs it."""
    say("start")
    os._exit(3)


def fail() -> None:
    """Raise an error."""
    say("start")
    raise ValueError("as told")


def unkept() -> object:
    """Return what is no JSON."""
    say("start")
    return object()


def large(size: int) -> str:
    """Return much."""
    say("start")
    return "x" * size


def to_file(directory: str) -> ResultFile:
    """Return a file."""
    say("start")
    path = Path(directory, "written.csv")
    path.write_text("a,b\n")
    return ResultFile(str(path), download_name="report.csv")


def told(count: int) -> int:
    """Report progress, and go on until the test ends it."""
    job = current_job()
    assert job is not None
    say("start")
    for number in range(count):
        job.progress(number / count, f"step {number}")
        time.sleep(0.00005)  # half a second in all, at least
    say("end")
    return count


async def asynchronous() -> str:
    """Run on a loop of its own."""
    say("start")
    return "awaited"


def leave_by_exit() -> None:
    """Ask the interpreter to end."""
    say("start")
    sys.exit("no")


def find(name: str) -> Callable[..., Any]:
    """The function of a job."""
    found: Callable[..., Any] | None = globals().get(name)
    if found is None:
        raise LookupError(f"there is no job {name!r}")
    return found


NAMES = (
    *(
        "quick",
        "hold",
        "first_time_hold",
        "work",
        "spin",
        "sleep_on",
        "family",
        "poison",
        "leave",
        "grow",
    ),
    *("fail", "unkept", "large", "to_file", "told", "asynchronous", "leave_by_exit"),
)
