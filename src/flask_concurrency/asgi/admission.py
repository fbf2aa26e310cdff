"""Say what becomes of a request before the application sees it. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from flask_concurrency.asgi.interface import Send
from flask_concurrency.vocabulary.permit import Permit


class Admission(NamedTuple):
    """What becomes of a request before the application sees it.

    :ivar marks: What is put into its WSGI environment.
    :ivar permit: To be released when it has been answered.
    :ivar answer: Answers it in place of the application; ``None`` to pass it on.
    """

    marks: Mapping[str, object]
    permit: Permit | None = None
    answer: Callable[[Send], Awaitable[None]] | None = None


LET_ON: Final = Admission(MappingProxyType({}))
"""To the application, as nothing has to be asked."""
