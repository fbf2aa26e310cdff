"""Write the messages of a deadline that has passed. Decides nothing, and knows no executor.

What happens when time is up, and where it is noticed, stands beside each message.
"""

from __future__ import annotations

from math import isinf

from flask_concurrency.vocabulary.errors import DeadlineExceeded
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.executors")


def never_started(name: str, late: float) -> DeadlineExceeded:
    """A task on a thread was dropped from the queue.

    :param name: Name of its function.
    :param late: Seconds since its deadline; infinite where the deadline was made to expire.
    """
    if isinf(late):
        return DeadlineExceeded(
            f"{name!r} was dropped before it started: its result is needed no more."
        )
    return DeadlineExceeded(
        f"{name!r} was dropped before it started: its deadline passed {late:.3f} s before a "
        "thread was free. Give it more time, or raise 'max_workers'."
    )


def thread_runs_on(name: str) -> DeadlineExceeded:
    """A task runs, or ran, on a thread past its deadline; its future fails, the thread goes on."""
    return DeadlineExceeded(
        f"{name!r} did not end by its deadline. A thread cannot be stopped, so it runs on. "
        "Give it more time, have it ask remaining(), or run it on processes."
    )


def log_late_end(name: str, executor: str, late: float) -> None:
    """Log that a task on a thread has ended after its deadline.

    :param late: Seconds since its deadline; infinite where the deadline was made to expire, as a
        group does for tasks it no longer needs. That is no reason to warn.
    """
    if isinf(late):
        logger.info("%r has ended in %r, where its result was needed no more", name, executor)
    else:
        logger.warning("%r ended in %r %.3f s after its deadline", name, executor, late)


def coroutine_cancelled(name: str) -> DeadlineExceeded:
    """A coroutine was cancelled on its loop."""
    return DeadlineExceeded(
        f"{name!r} did not end before its deadline and was cancelled. Give it more time, or give "
        "what it awaits the time that is left, as in timeout=concurrency.remaining()."
    )


def left_to_foreign_executor(name: str, executor: str) -> DeadlineExceeded:
    """A task was given up on an executor that is not ours; what has begun there may run on."""
    return DeadlineExceeded(
        f"{name!r} had not ended on {executor!r} at its deadline. What has begun there may run "
        "on; give it more time, or less to do."
    )


def late_in_group(name: str) -> DeadlineExceeded:
    """A task of a group had not ended when the group's time was up."""
    return DeadlineExceeded(f"{name!r} had not ended when the time of its group was up.")


def group_incomplete(late: int, tasks: int, names: str) -> DeadlineExceeded:
    """The block of a group ends without the results it needs.

    :param late: How many of its tasks had not ended.
    :param tasks: How many there are.
    :param names: Names of those that had not ended.
    """
    return DeadlineExceeded(
        f"The time of a group was up, and {late} of its {tasks} tasks had not ended: {names}. "
        "Give it more time, or take what is ready with policy='partial'."
    )


def view_was_late(endpoint: str) -> DeadlineExceeded:
    """A view answered after its deadline; its answer is not sent."""
    return DeadlineExceeded(
        f"{endpoint!r} did not answer before its deadline. Give what it calls the time that is "
        "left, as in timeout=concurrency.remaining()."
    )
