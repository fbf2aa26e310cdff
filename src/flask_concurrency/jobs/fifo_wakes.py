"""Wake the workers of one machine once there is something for them to do.

Each reads a pipe of its own, with a name in a directory of the ledger (FIFO), so that any process
can write to it. One that is killed before it does loses the wake and nothing else: a worker looks
by itself, too. Knows no job and no worker.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flask_concurrency.vocabulary.safe_logger import SafeLogger

PREFIX: Final = ".wake+"
PAUSE: Final = 0.02
"""Seconds between two wakes, so that many jobs at once cost a worker 50 looks a second at most."""

logger: Final = SafeLogger("flask_concurrency.jobs")


@contextmanager
def waking(directory: Path, worker: str, wake: Callable[[], object]) -> Iterator[None]:
    """Call ``wake`` after each :func:`wake_all`, on a thread that ends with the block.

    :param worker: Names the pipe.
    """
    path = directory / f"{PREFIX}{worker}"
    try:
        os.mkfifo(path, 0o600)
        # For writing, too: so it is never at its end, and this process can end its own wait.
        pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        logger.warning("The worker cannot be woken, and looks for jobs by itself: %s", error)
        yield
        return
    ended = threading.Event()
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)

    def run() -> None:
        while not ended.is_set():
            waiting.poll()  # a read would hold all up where threads are greenlets
            os.read(pipe, 65_536)
            wake()
            ended.wait(PAUSE)

    thread = threading.Thread(target=run, name="job-wakes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        os.write(pipe, b"\0")
        thread.join()
        os.close(pipe)
        path.unlink(missing_ok=True)


def wake_all(directory: Path) -> None:
    """Wake all workers that wait. Raises nothing: what there is to do is written by then."""
    with suppress(OSError):
        for name in os.listdir(directory):
            if name.startswith(PREFIX):
                with suppress(OSError):  # it is gone, or was woken often and has not looked
                    pipe = os.open(directory / name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                    try:
                        os.write(pipe, b"\0")
                    finally:
                        os.close(pipe)


def forget(directory: Path, worker: str) -> None:
    """Remove the pipe of a worker that is gone."""
    (directory / f"{PREFIX}{worker}").unlink(missing_ok=True)
