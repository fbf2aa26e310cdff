"""The fourth chapter's app waits for five things at once, and another origin's page may call it."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from flask import Flask
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from werkzeug.serving import make_server

PAGE = "http://127.0.0.1:8000"
CHROMIUM = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PAGES = Path(__file__).parents[2] / "examples" / "tutorial" / "page"
LINES = [f"Task {num} is done" for num in range(5)]


def test_five_things_are_awaited_at_once(
    load_chapter: Callable[[str], Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None gets past the barrier unless all five wait; it serves the next request, too."""
    app = load_chapter("chapter4_async")
    client = app.test_client()
    barriers: list[asyncio.Barrier] = []

    async def sleep(seconds: float) -> None:
        if not barriers:  # made on the loop of the first request, used in the second
            barriers.append(asyncio.Barrier(5))
        async with asyncio.timeout(5):
            await barriers[0].wait()

    monkeypatch.setattr(
        "chapter4_async.asyncio", SimpleNamespace(sleep=sleep, gather=asyncio.gather)
    )

    assert client.get("/api").json == LINES
    assert client.get("/api").json == LINES


def test_the_page_may_read_answers_and_refusals(load_chapter: Callable[[str], Flask]) -> None:
    """Five preflights and five calls are answered; the sixth call learns when to come back."""
    client = load_chapter("chapter4_async").test_client()
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}

    for _ in range(5):
        assert client.options("/api", headers=asks).status_code == 200
        assert client.get("/api", headers={"Origin": PAGE}).status_code == 200
    refused = client.get("/api", headers={"Origin": PAGE})

    assert refused.status_code == 429
    assert refused.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"]


def test_a_stranger_may_not_read_the_answer(load_chapter: Callable[[str], Flask]) -> None:
    """An origin that the app does not list is allowed nothing."""
    client = load_chapter("chapter4_async").test_client()

    answer = client.get("/api", headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.slow
@pytest.mark.parametrize("server", ["gunicorn-sync", "gunicorn-gthread", "granian"])
def test_on_a_real_server_an_async_view_answers_request_after_request(
    serve: Callable[..., str], server: str
) -> None:
    """The loop outlives the request it was started in."""
    url = serve("examples/tutorial/chapter4_async", server) + "/api"

    assert [requests.get(url, timeout=10).json() for _ in range(5)] == [LINES] * 5


class Quiet(SimpleHTTPRequestHandler):
    """Serves the page, and writes no log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def answering(server: HTTPServer) -> Iterator[str]:
    """The URL of a server that answers in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_in_a_browser_the_page_tells_when_to_try_again(
    load_chapter: Callable[[str], Flask],
) -> None:
    """Five presses show the results, the sixth shows what ``Retry-After`` said."""
    app = load_chapter("chapter4_async")
    options = webdriver.ChromeOptions()
    for argument in CHROMIUM:
        options.add_argument(argument)
    with (
        answering(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=PAGES))) as page,
        answering(make_server("127.0.0.1", 0, app, threaded=True)) as api,
        webdriver.Chrome(options=options) as browser,
    ):
        import_of(app).concurrency.cors(app, origins=page)  # the page has another port here
        browser.get(f"{page}/?api={api}/api")
        shown = [press(browser) for _ in range(6)]

    assert shown[:5] == ["\n".join(LINES)] * 5
    assert re.fullmatch(r"429 Too many requests\. Try again in \d+ s\.", shown[5])


def import_of(app: Flask) -> Any:
    """The module in which the app was made."""
    return sys.modules[app.import_name]


def press(browser: webdriver.Chrome) -> str:
    """Press the button and wait for what the page then shows."""
    browser.find_element(By.TAG_NAME, "button").click()
    answer = browser.find_element(By.TAG_NAME, "pre")
    WebDriverWait(browser, 10).until(lambda _: answer.text not in ("", "…"))
    return answer.text
