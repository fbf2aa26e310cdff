"""What is sent is what a browser's EventSource reads, whatever is in it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency.streams.server_sent_events import HEARTBEAT, Event, encode

no_breaks = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


def read(stream: bytes) -> list[dict[str, Any]]:
    """Read events as the specification says, step by step."""
    events: list[dict[str, Any]] = []
    data: list[str] = []
    kind, last_id, retry = "", None, None
    for line in re.split(r"\r\n|\r|\n", stream.decode())[:-1]:
        if not line:
            if data:
                events.append(
                    {"data": "\n".join(data), "event": kind, "id": last_id, "retry": retry}
                )
            data, kind = [], ""
            continue
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data" and (colon or line == "data"):
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            retry = int(value)
    return events


@given(st.text(st.characters(exclude_categories=["Cs"])), no_breaks, no_breaks)
def test_what_is_sent_is_read(data: str, kind: str, name: str) -> None:
    """Line breaks of every kind arrive as line feeds; nothing else is changed."""
    (event,) = read(Event(data, event=kind, id=name, retry=3000).encode(json.dumps))
    assert event["data"] == re.sub(r"\r\n|\r", "\n", data)
    assert (event["event"], event["id"], event["retry"]) == (kind, name, 3000)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_one_event_is_one_event(items: list[str]) -> None:
    """No data can end its event, or begin another, or pass for another field."""
    stream = b"".join(encode(item, json.dumps) for item in items)
    assert len(read(stream)) == len(items)
    assert all(event["id"] is None and event["event"] == "" for event in read(stream))


@pytest.mark.parametrize(
    ("item", "sent"),
    [
        ("hello", b"data: hello\n\n"),
        ("a\nb", b"data: a\ndata: b\n\n"),
        ("", b"data: \n\n"),
        ({"price": 3}, b'data: {"price": 3}\n\n'),
        ([1, 2], b"data: [1, 2]\n\n"),
        (None, HEARTBEAT),
        (Event("x", event="tick", id="7"), b"event: tick\nid: 7\ndata: x\n\n"),
        (Event(retry=10), b"retry: 10\ndata: \n\n"),
    ],
)
def test_an_item_is_spelled_as_the_specification_says(item: Any, sent: bytes) -> None:
    """Text as it is, other data as JSON, ``None`` as a comment."""
    assert encode(item, json.dumps) == sent


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "a\nid: 1"},
        {"event": "a\rb"},
        {"event": 3},
        {"id": "1\n\ndata: forged"},
        {"id": "a\0b"},
        {"id": 7},
        {"retry": -1},
        {"retry": 1.5},
        {"retry": True},
    ],
)
def test_fields_that_could_forge_others_are_refused(fields: dict[str, Any]) -> None:
    """Where the event is made, with the name of the field and its value."""
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name}="):
        Event("x", **fields)
