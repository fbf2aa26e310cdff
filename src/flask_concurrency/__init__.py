"""Control over concurrency for Flask: who may come in, where the work runs, how it ends."""

from typing import TYPE_CHECKING

from flask_concurrency.flask_app.app_snapshot import Snapshot
from flask_concurrency.flask_app.current_scope import ScopeLocal, current_scope
from flask_concurrency.flask_app.declarations.options import Limits
from flask_concurrency.flask_app.extension import Concurrency
from flask_concurrency.flask_app.http.responses import (
    DeadlinePassed,
    QuotaExceeded,
    Refusal,
    ServerBusy,
)
from flask_concurrency.flask_app.telemetry.signals import (
    limit_moved,
    request_refused,
    store_lost,
    task_failed,
    worker_killed,
)
from flask_concurrency.runtime.drain import watch_signals
from flask_concurrency.vocabulary.decision import Decision, Verdict
from flask_concurrency.vocabulary.errors import (
    ConcurrencyError,
    ConfigurationError,
    ConnectionClosed,
    DeadlineExceeded,
    ExecutorError,
    ExecutorShutdown,
    IdempotencyConflict,
    JobCanceled,
    JobError,
    JobFailed,
    JobNotDone,
    JobNotFound,
    JobNotJson,
    JobsUnavailable,
    LoopBlocked,
    QueueFull,
    StoreError,
    TaskNotPicklable,
    TooManyJobs,
    WorkerDied,
    WorkerOutOfMemory,
    WorkerStartFailed,
)
from flask_concurrency.vocabulary.first_use import at_first_use
from flask_concurrency.vocabulary.limits import Adaptive, InFlight, Rate

if TYPE_CHECKING:
    from flask_concurrency.executors.groups import TaskGroup, TaskResult
    from flask_concurrency.executors.processes.is_worker import in_worker
    from flask_concurrency.streams.server_sent_events import Event
    from flask_concurrency.vocabulary.websocket import AsyncWebSocket, WebSocket

__getattr__, __dir__ = at_first_use(
    __name__,
    {
        "flask_concurrency.executors.groups": ("TaskGroup", "TaskResult"),
        "flask_concurrency.executors.processes.is_worker": ("in_worker",),
        "flask_concurrency.streams.server_sent_events": ("Event",),
        "flask_concurrency.vocabulary.websocket": ("AsyncWebSocket", "WebSocket"),
    },
)

__all__ = [
    "Adaptive",
    "AsyncWebSocket",
    "Concurrency",
    "ConcurrencyError",
    "ConfigurationError",
    "ConnectionClosed",
    "DeadlineExceeded",
    "DeadlinePassed",
    "Decision",
    "Event",
    "ExecutorError",
    "ExecutorShutdown",
    "IdempotencyConflict",
    "InFlight",
    "JobCanceled",
    "JobError",
    "JobFailed",
    "JobNotDone",
    "JobNotFound",
    "JobNotJson",
    "JobsUnavailable",
    "Limits",
    "LoopBlocked",
    "QueueFull",
    "QuotaExceeded",
    "Rate",
    "Refusal",
    "ScopeLocal",
    "ServerBusy",
    "Snapshot",
    "StoreError",
    "TaskGroup",
    "TaskNotPicklable",
    "TaskResult",
    "TooManyJobs",
    "Verdict",
    "WebSocket",
    "WorkerDied",
    "WorkerOutOfMemory",
    "WorkerStartFailed",
    "current_scope",
    "in_worker",
    "limit_moved",
    "request_refused",
    "store_lost",
    "task_failed",
    "watch_signals",
    "worker_killed",
]
