"""Spell events as the EventSource of a browser reads them. Knows no stream and no response.

The format is https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

HEARTBEAT: Final = b":\n\n"
"""A comment: nothing to the reader, but a sign of life to proxies in between."""

_LINES: Final = re.compile(r"\r\n|\r|\n")
"""What ends a line there. Python's ``splitlines`` knows more, and would break what has them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    :param data: Text, sent as it is; anything else is sent as JSON.
    :param event: Its type, which a page listens for; ``message`` if it is left out.
    :param id: What the browser sends as ``Last-Event-ID`` when it comes back.
    :param retry: Milliseconds after which a browser that was cut off comes back.
    :raises ValueError: ``event`` or ``id`` has a line break, or ``id`` a NUL: with what follows it
        one could forge other fields; or ``retry`` is no whole number.
    """

    data: Any = ""
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name in ("event", "id"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise ValueError(f"{name}={value!r}: give text, as in {name}={str(value)!r}.")
            if _LINES.search(value) or (name == "id" and "\0" in value):
                raise ValueError(
                    f"{name}={value!r} would end its line: take line breaks and NULs out of it."
                )
        if self.retry is not None and (
            isinstance(self.retry, bool) or not isinstance(self.retry, int) or self.retry < 0
        ):
            raise ValueError(f"retry={self.retry!r}: give whole milliseconds, such as 3000.")

    def encode(self, dumps: Callable[[Any], str]) -> bytes:
        """The event as it is sent.

        :param dumps: Makes JSON of data that is no text.
        """
        data = self.data if isinstance(self.data, str) else dumps(self.data)
        lines = [f"data: {line}" for line in _LINES.split(data)]
        if self.retry is not None:
            lines.insert(0, f"retry: {self.retry}")
        if self.id is not None:
            lines.insert(0, f"id: {self.id}")
        if self.event is not None:
            lines.insert(0, f"event: {self.event}")
        return ("\n".join(lines) + "\n\n").encode()


def encode(item: Any, dumps: Callable[[Any], str]) -> bytes:
    """One item of a source as it is sent: an event, its data alone, or ``None`` for a sign of life.

    :param dumps: Makes JSON of data that is no text.
    """
    if item is None:
        return HEARTBEAT
    event = item if isinstance(item, Event) else Event(item)
    return event.encode(dumps)
