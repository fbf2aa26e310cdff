"""What an admitted request holds while it is inside, and how it gives it back exactly once.

Knows three endings; knows no store: it is handed the one call that returns the permit.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from types import TracebackType

from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.permit")


class Ending(enum.Enum):
    """How a request that held a permit ended; later limiters learn from it."""

    COMPLETED = "completed"
    """The last byte was sent: its duration teaches latency."""
    DROPPED = "dropped"
    """A deadline passed or something downstream refused: it teaches loss."""
    ABANDONED = "abandoned"
    """The client left or our code failed: it teaches nothing."""


class Permit:
    """The right to be inside, returned exactly once on every path.

    As a context manager it ends ``COMPLETED``, or ``ABANDONED`` if the block raises.

    :param give_back: Called once, with how the request ended.
    :ivar ending: ``None`` while the permit is held.
    """

    __slots__ = ("_give_back", "_lock", "ending")

    def __init__(self, give_back: Callable[[Ending], None]) -> None:
        self._give_back = give_back
        self._lock = threading.Lock()
        self.ending: Ending | None = None

    def release(self, ending: Ending = Ending.COMPLETED) -> None:
        """Return the permit; a second call changes nothing and is logged as our mistake."""
        with self._lock:
            if self.ending is not None:
                logger.warning("Permit released twice: %s, then %s.", self.ending, ending)
                return
            self.ending = ending
        self._give_back(ending)

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release(Ending.COMPLETED if error is None else Ending.ABANDONED)
