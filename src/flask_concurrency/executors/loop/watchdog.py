"""Name what keeps an event loop from going on. Knows the loop's thread; stops nothing.

A thread asks the loop for a sign of life. Where none comes in time, it looks at the stack of the
loop's thread, which shows the function at fault, as a look after the event would not.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
import traceback
from pathlib import Path
from types import FrameType

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.watchdog")

SHOWN = 6
"""Innermost frames in the log."""
MANY = 1_000
"""Lines of code that are remembered as logged."""

_OURS = str(Path(__file__).parents[2])
_PYTHON = sysconfig.get_path("stdlib")
_LIBRARIES = ("site-packages", "dist-packages")
_ASYNCIO = str(Path(asyncio.__file__).parent)
_RUNS = frozenset({"_run", "_run_once", "run", "run_forever", "run_until_complete"})
"""What calls a callback on a loop, be it asyncio's or one written in C."""


class Watchdog:
    """Watches one running loop until that is closed.

    :param loop: The loop.
    :param thread: The identity of the thread that runs it.
    :param seconds: How long it may stand still.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int, seconds: float) -> None:
        self._loop = loop
        self._loops_thread = thread
        self._seconds = seconds
        self._told: set[tuple[str, int]] = set()
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="concurrency-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            alive = threading.Event()
            try:
                self._loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # closed
            blamed = False
            while not alive.wait(self._seconds):
                if self._stopped.is_set() or self._loop.is_closed():
                    return
                # What it was doing at the first look may have been no function's fault.
                blamed = blamed or self._look(alive)

    def _look(self, alive: threading.Event) -> bool:
        """Look what the loop's thread does, and return whether a function is to blame for it."""
        innermost = sys._current_frames().get(self._loops_thread)
        # A loop that is not running now has no one to blame.
        if innermost is None or not self._loop.is_running() or alive.is_set():
            return False
        frame = culprit(innermost)
        if frame is not None:
            self._tell(frame, innermost)
        return frame is not None

    def _tell(self, frame: FrameType, innermost: FrameType) -> None:
        code = frame.f_code
        place = code.co_filename, frame.f_lineno
        if place in self._told or len(self._told) >= MANY:
            return
        self._told.add(place)
        logger.warning(
            "%r (%s, line %d) has kept the event loop, and every request on it, waiting for more "
            "than %g s. Await it, as in 'await concurrency.threads.run(function)', or give its "
            "requests threads with 'concurrency.runs_on(\"threads\")'.\n%s",
            code.co_qualname,
            *place,
            self._seconds,
            "".join(traceback.format_stack(innermost, SHOWN)),
        )


def culprit(innermost: FrameType) -> FrameType | None:
    """The frame to blame for what a loop's thread does; ``None`` if it only waits for events.

    That of the app which is the innermost, or of a library if none of the app's is there. What
    runs the loop, further out, is not at fault.
    """
    running: list[FrameType] = []
    frame: FrameType | None = innermost
    while frame is not None and not _runs_the_loop(frame):
        running.append(frame)
        frame = frame.f_back
    # A stack that was set aside begins with us, and shows no loop.
    if not running or (frame is None and not _is_ours(running[-1])):
        return None
    others = [each for each in running if not (_is_ours(each) or _is_pythons(each))]
    return next((each for each in others if not _is_a_librarys(each)), None) or next(
        iter(others), None
    )


def _runs_the_loop(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_ASYNCIO) and frame.f_code.co_name in _RUNS


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _is_a_librarys(frame: FrameType) -> bool:
    return any(part in frame.f_code.co_filename for part in _LIBRARIES)


def _is_pythons(frame: FrameType) -> bool:
    if _is_a_librarys(frame):  # which may live below the standard library
        return False
    return frame.f_code.co_filename.startswith((_PYTHON, "<frozen"))
