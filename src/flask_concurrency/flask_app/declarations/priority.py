"""Say how much the requests of a view or blueprint matter under overload. Knows no request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from flask_concurrency.vocabulary.errors import ConfigurationError
from flask_concurrency.vocabulary.priority import Priority, check_priority


@dataclass(frozen=True, slots=True)
class RequestPriority:
    """How much requests matter: one of four words, or a function that gives one in each request.

    :raises ConfigurationError: It is neither.
    """

    priority: Priority | Callable[[], Priority]

    def __post_init__(self) -> None:
        if not callable(self.priority):
            check_priority(self.priority)
        elif inspect.iscoroutinefunction(self.priority):
            raise ConfigurationError(
                f"priority({self.priority!r}): it is asked before any event loop sees the request, "
                "so give a function that is no coroutine function."
            )
