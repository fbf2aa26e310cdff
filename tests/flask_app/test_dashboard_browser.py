"""The dashboard in a browser, before real workers: a burst is seen, and mended there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from examples.demo.visitor import BrowserMissing, Visitor, chromium
from selenium.webdriver.common.by import By
from tests.flask_app.test_many_workers import Serve, eventually, get

pytestmark = pytest.mark.slow

APP = "tests/apps/shop_with_dashboard"
SEEN_WITHIN = 2.0
"""Seconds from a burst to its sight: its second ends, is told a tenth later, and is drawn."""


@pytest.fixture
def browser() -> Iterator[Visitor]:
    """A Chromium; a missing one fails the test, since nothing else shows that the page works."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(chromium())
        except BrowserMissing as missing:
            pytest.fail(str(missing))


def words(browser: Visitor) -> str:
    """The sentence on top."""
    text: str = browser.script("return document.getElementById('words').textContent")
    return text


def test_a_burst_is_seen_and_the_refused_key_is_reset_and_let_in(
    serve: Serve, browser: Visitor
) -> None:
    """By whom the page was opened, on whichever worker, although one was killed before."""
    url = serve(APP, "gunicorn-gthread", workers=2, threads=8)
    os.kill(int(get(url, "/worker")[2]), signal.SIGKILL)
    eventually(lambda: _answers(url), True)
    browser.open(f"{url}/_concurrency/")
    browser.wait(lambda: browser.script("return document.getElementById('since').textContent"))

    statuses = [get(url, "/limited")[0] for _ in range(20)]
    sent_at = time.monotonic()
    assert statuses == [200] * 5 + [429] * 15
    browser.wait(lambda: "refused: clients of /limited are over 5/hour" in words(browser))
    assert time.monotonic() - sent_at < SEEN_WITHIN

    browser.wait(lambda: browser.driver.find_elements(By.CSS_SELECTOR, "#refused-rows button"))
    reset = browser.driver.find_element(By.CSS_SELECTOR, '[data-at="reset 127.0.0.1"]')
    reset.send_keys("\n")  # by keyboard
    browser.wait(
        lambda: "begin anew" in browser.script("return document.getElementById('said').textContent")
    )
    eventually(lambda: get(url, "/limited")[0], 200)
    complaints = [entry["message"] for entry in browser.logged("browser")]
    assert complaints == []


def test_the_page_fits_a_telephone_in_light_and_dark(serve: Serve, browser: Visitor) -> None:
    """Nothing is wider than the screen, and every control has a name."""
    url = serve(APP, "gunicorn-gthread", workers=1, threads=8)
    browser.resize(375, 800)
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.open(f"{url}/_concurrency/")
        wide = browser.script("return document.documentElement.scrollWidth")
        assert wide <= 375
        colors = browser.script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
        assert colors[0] != colors[1]
    nameless = browser.script(
        "return [...document.querySelectorAll('button, input')].filter(e =>"
        " !(e.getAttribute('aria-label') || e.labels?.length || e.textContent)).length"
    )
    assert nameless == 0


def _answers(url: str) -> bool:
    try:
        return all(get(url, "/worker")[0] == 200 for _ in range(4))
    except OSError:
        return False
