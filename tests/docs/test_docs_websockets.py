"""The page of WebSockets names what handlers and their decorator have, no more and no less."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from flask_concurrency import AsyncWebSocket, Concurrency, WebSocket

ROW = re.compile(r"^\| `(\w+)", re.MULTILINE)
PAGE = "docs/reference/websockets.md"


def rows(pages: dict[str, Any], heading: str) -> set[str]:
    """The names that begin a row of a section's tables."""
    section = pages[PAGE].text.partition(f"## `{heading}")[2].partition("\n## ")[0]
    return set(ROW.findall(section))


def test_every_option_of_websocket_is_on_its_page(pages: dict[str, Any]) -> None:
    """Its section has a row for each keyword, and for nothing else."""
    parameters = inspect.signature(Concurrency.websocket).parameters.values()

    assert rows(pages, "concurrency.websocket(") == {
        p.name for p in parameters if p.kind is p.KEYWORD_ONLY
    }


@pytest.mark.parametrize("kind", [WebSocket, AsyncWebSocket])
def test_every_name_of_a_websocket_is_on_its_page(kind: type, pages: dict[str, Any]) -> None:
    """Both kinds have the same ones."""
    names = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}

    assert rows(pages, "WebSocket`") == names
