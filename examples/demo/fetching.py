"""Chapter 2, threads: fetch several pages over HTTP, one by one or on the shared threads.

Which URLs are allowed is decided elsewhere; here a page is fetched and timed.
"""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from examples.demo.allowed_urls import UrlRefused, allowed_urls
from examples.demo.extension import concurrency
from flask import Blueprint, current_app, request
from werkzeug.exceptions import BadRequest

TIMEOUT = 5.0
"""Seconds a page may take."""
MAX_BYTES = 1_000_000

fetching = Blueprint("fetching", __name__, url_prefix="/pages")
Answer = dict[str, Any]
MapFunction = Callable[[Callable[[str], "Page"], Iterable[str]], Iterator["Page"]]


@dataclass(frozen=True, slots=True)
class Page:
    """What came of fetching one URL; instants are seconds on the machine's monotonic clock.

    :ivar status: The HTTP status; ``None`` if there was no answer.
    :ivar title: The page's title, or why there is none.
    """

    url: str
    status: int | None
    title: str
    size: int
    thread: str
    started_at: float
    ended_at: float


@fetching.post("/one-by-one")
@concurrency.limit("4 in flight")
def one_by_one() -> Answer:
    return fetched(map, fetch, wanted_urls())


@fetching.post("/on-threads")
@concurrency.limit("4 in flight")
def on_threads() -> Answer:
    return fetched(concurrency.threads.map, fetch, wanted_urls())


def fetched(run: MapFunction, fetch: Callable[[str], Page], urls: list[str]) -> Answer:
    """Fetch all pages with ``run`` and report how long each took, and all together."""
    started_at = time.monotonic()
    pages = list(run(fetch, urls))
    seconds = time.monotonic() - started_at
    return {"seconds": seconds, "started_at": started_at, "pages": [asdict(p) for p in pages]}


def wanted_urls() -> list[str]:
    """The URLs in the request's body, ``{"urls": […]}``.

    :raises BadRequest: There are none, too many, or one that may not be fetched.
    """
    body = request.get_json()
    try:
        return allowed_urls(
            body.get("urls") if isinstance(body, dict) else None,
            origins=current_app.config["FETCH_ORIGINS"],
        )
    except UrlRefused as refused:
        raise BadRequest(str(refused)) from None


def fetch(url: str) -> Page:
    """Fetch one page. Follows no redirect and uses no proxy, so it stays where it was sent."""
    started_at = time.monotonic()
    status, title, size = None, "", 0
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/")
        response = connection.getresponse()
        body = response.read(MAX_BYTES)
        status, title, size = response.status, _title(body), len(body)
    except (OSError, HTTPException) as error:
        title = f"no answer: {error}"
    finally:
        connection.close()
    thread = threading.current_thread().name
    return Page(url, status, title, size, thread, started_at, time.monotonic())


def _title(body: bytes) -> str:
    found = re.search(r"<title>(.*?)</title>", body.decode(errors="replace"), re.DOTALL)
    return html.unescape(found[1]).strip() if found else "(no title)"
