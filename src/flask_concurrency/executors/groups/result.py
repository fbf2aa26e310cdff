"""Say how one task of a group ended. Knows no future, no policy and no executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

How = Literal["done", "failed", "cancelled", "late"]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How one task of a group ended.

    :ivar task: Name of its function.
    :ivar how: ``"done"``: it returned ``value``. ``"failed"``: it raised ``error``.
        ``"cancelled"``: it was, by hand or because its group needed it no more. ``"late"``: it had
        not ended at the group's deadline; ``error`` is a :exc:`DeadlineExceeded`.
    :ivar value: What it returned; ``None`` where it did not.
    :ivar error: What it raised; ``None`` where it did not.
    """

    task: str
    how: How
    value: Any = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.how == "done"

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.how == "cancelled"
