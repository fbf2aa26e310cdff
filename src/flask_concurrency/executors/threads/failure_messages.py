"""Say what became of a task whose deadline passed. Knows neither queue nor thread."""

from __future__ import annotations

from math import isinf

from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.executors")


def dropped(name: str, late: float) -> DeadlineExceeded:
    """The error of a task that never started.

    :param name: Name of its function.
    :param late: Seconds since its deadline; infinite where the deadline was made to expire.
    """
    if isinf(late):
        return DeadlineExceeded(
            f"{name!r} was dropped before it started: nobody waits for it any more."
        )
    return DeadlineExceeded(
        f"{name!r} was dropped before it started: its deadline passed {late:.3f} s before a "
        "thread was free. Give it more time, or raise 'max_workers'."
    )


def overran(name: str) -> DeadlineExceeded:
    """The error of a task that runs, or ran, past its deadline."""
    return DeadlineExceeded(
        f"{name!r} did not end by its deadline. A thread cannot be stopped, so it runs on. "
        "Give it more time, have it ask remaining(), or run it on processes."
    )


def log_overrun(name: str, executor: str, late: float) -> None:
    """Log that a task that could not be stopped has ended.

    :param late: Seconds since its deadline; infinite where the deadline was made to expire, as a
        group does for tasks it no longer needs. That is no reason to warn.
    """
    if isinf(late):
        logger.info("%r has ended in %r, where nobody waited for it any more", name, executor)
    else:
        logger.warning("%r ended in %r %.3f s after its deadline", name, executor, late)
