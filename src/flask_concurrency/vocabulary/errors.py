"""Name everything that can go wrong. Knows no HTTP status code: those live in ``responses.py``.

.. code-block:: text

    ConcurrencyError
    ├─ ConfigurationError     written wrong; raised where it is written     (also ValueError)
    ├─ DeadlineExceeded       the deadline passed before the work was done  (also TimeoutError)
    ├─ ConnectionClosed       a WebSocket has ended
    ├─ UnreadableCost         a client sent what no cost can be read from   (also ValueError)
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
