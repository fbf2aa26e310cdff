"""Name everything that can go wrong. Knows no HTTP status code: those live in ``responses.py``.

.. code-block:: text

    ConcurrencyError
    ├─ ConfigurationError     written wrong; raised where it is written     (also ValueError)
    ├─ DeadlineExceeded       the deadline passed before the work was done  (also TimeoutError)
    ├─ ConnectionClosed       a WebSocket has ended
    ├─ UnreadableCost         a client sent what no cost can be read from   (also ValueError)
    ├─ JobError               a job was not accepted, or has no result
    │  ├─ JobNotFound         there is no such job, or it has expired       (also LookupError)
    │  ├─ JobsUnavailable     the ledger cannot be read or written; nothing was accepted
    │  ├─ TooManyJobs         as many jobs are queued as may be
    │  ├─ JobNotJson          arguments or a result are not JSON, or too large  (also TypeError)
    │  ├─ IdempotencyConflict the key was used for other arguments          (also ValueError)
    │  ├─ JobNotDone          its result was asked for before its end
    │  ├─ JobFailed           its result was asked for, and it has none
    │  └─ JobCanceled         the same, since it was cancelled; raised in the job itself, too
    ├─ StoreError             counts cannot be read or written
    │  └─ StoreUnavailable    nor will any others be, until the store is back
    └─ ExecutorError          the work could not be run                     (also RuntimeError)
       ├─ ExecutorShutdown    the executor takes no more work
       ├─ QueueFull           the executor's queue holds ``max_queue`` tasks
       ├─ TaskNotPicklable    function, arguments or result cannot cross   (also TypeError)
       ├─ WorkerDied          the worker process ended before its task did  (also BrokenExecutor)
       │  └─ WorkerOutOfMemory  the task wanted more memory than its worker may take
       ├─ WorkerStartFailed   no worker process came up
       └─ LoopBlocked         code on the event loop would wait for that same loop
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor


class ConcurrencyError(Exception):
    """Base of every error this library raises."""


class ConfigurationError(ConcurrencyError, ValueError):
    """A limit, key, option or configuration value is wrong; the message names it and the remedy."""


class DeadlineExceeded(ConcurrencyError, TimeoutError):
    """The deadline passed before the work was done."""


class UnreadableCost(ConcurrencyError, ValueError):
    """A cost function could not read a number from what the client sent; Flask answers 400."""


class ConnectionClosed(ConcurrencyError):
    """A WebSocket has ended: nothing can be received or sent any more.

    Where the package ``simple_websocket`` is in use, it is caught as that one's, too.

    :ivar reason: The code it was closed with (RFC 6455, section 7.4); 1006 if it was cut off.
    :ivar message: The reason that came with it.
    """

    def __init__(self, reason: int, message: str | None = None) -> None:
        # Not super(): beside it may stand a class that makes a text of its own.
        Exception.__init__(self, f"The WebSocket was closed: {reason} {message or ''}".rstrip())
        self.reason = reason
        self.message = message


class StoreError(ConcurrencyError):
    """The counts of a store cannot be read or written."""


class StoreUnavailable(StoreError):
    """A store does not answer or takes no writes; asking again at once would be in vain."""


class JobError(ConcurrencyError):
    """A job was not accepted, or its result cannot be had."""


class JobNotFound(JobError, LookupError):
    """There is no job of this id: it never was, or its record has expired."""


class JobsUnavailable(JobError):
    """The ledger of jobs cannot be read or written at the moment; nothing was accepted."""


class TooManyJobs(JobError):
    """As many jobs are queued as may be.

    :ivar max_queued: Jobs that may be queued.
    :ivar of_owner: Whether one owner has so many; otherwise all have together.
    """

    def __init__(self, *, max_queued: int, of_owner: bool) -> None:
        whose = "of one owner" if of_owner else "of all owners"
        option = "max_queued_per_owner" if of_owner else "max_queued"
        super().__init__(
            f"{max_queued} of {max_queued} jobs {whose} are queued. Submit it later, start more "
            f"workers, or raise {option!r}."
        )
        self.max_queued = max_queued
        self.of_owner = of_owner


class JobNotJson(JobError, TypeError):
    """Arguments or a result cannot be written as JSON, or are too large to be kept in a record.

    :ivar too_large: Whether they are JSON, but too much of it.
    """

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


class IdempotencyConflict(JobError, ValueError):
    """An idempotency key was used for other arguments before."""


class JobNotDone(JobError):
    """The result of a job was asked for before its end."""


class JobFailed(JobError):
    """A job has no result: it failed.

    :ivar error: What is known of it: ``type``, ``title``, ``detail``.
    """

    def __init__(self, job: str, error: dict[str, str]) -> None:
        super().__init__(f"Job {job!r} failed: {error.get('title', '')}: {error.get('detail', '')}")
        self.error = error


class JobCanceled(JobError):
    """A job has no result: it was cancelled. Raised in the job itself where it can be told."""


class ExecutorError(ConcurrencyError, RuntimeError):
    """The work could not be run; errors of the work itself are raised as they are."""


class ExecutorShutdown(ExecutorError):
    """The executor was shut down and takes no more work."""


class QueueFull(ExecutorError):
    """The executor already holds as many waiting tasks as it may.

    :ivar max_queue: Tasks that may wait.
    """

    def __init__(
        self,
        executor: str,
        *,
        max_queue: int,
        advice: str = "Submit fewer at once, or raise 'max_queue'.",
    ) -> None:
        super().__init__(
            f"{executor!r} refused a task: {max_queue} of {max_queue} tasks are waiting. {advice}"
        )
        self.max_queue = max_queue


class TaskNotPicklable(ExecutorError, TypeError):
    """A function, an argument or a result cannot be sent between processes."""


class WorkerDied(ExecutorError, BrokenExecutor):
    """A worker process ended before its task did; no other task is affected.

    A ``BrokenExecutor``, too, as with the standard library, although the executor is not broken.

    :ivar exitcode: What the process ended with; negative for a signal, ``None`` if unknown.
    """

    def __init__(self, message: str, *, exitcode: int | None) -> None:
        super().__init__(message)
        self.exitcode = exitcode


class WorkerOutOfMemory(WorkerDied):
    """A task wanted more memory than ``max_memory`` grants it; its worker is replaced.

    :ivar exitcode: ``None``, unless it ended the worker process.
    """

    def __init__(self, message: str, *, exitcode: int | None = None) -> None:
        super().__init__(message, exitcode=exitcode)


class WorkerStartFailed(ExecutorError):
    """No worker process could be started, or its initializer failed."""


class LoopBlocked(ExecutorError):
    """Code running on the event loop tried to wait for that same loop, which would never end."""
