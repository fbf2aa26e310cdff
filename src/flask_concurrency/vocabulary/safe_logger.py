"""Log without raising: where the application's logging fails, print why on standard error.

Knows no caller. A filter or a handler may raise, as one does that reads ``request`` on a thread
without one. That must not end a background thread that serves all requests.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


class SafeLogger(Adapter):
    """A logger that raises nothing.

    :param name: Its name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, or write to standard error why not, as the standard library's handlers do."""
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)  # where it was called, not here
        except Exception:
            if logging.raiseExceptions and sys.stderr is not None:
                traceback.print_exc()
