"""The dashboard in a browser, before real workers: a burst is seen, and mended there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests
from examples.demo.visitor import BrowserMissing, Visitor, chromium
from selenium.webdriver.common.by import By
from tests.flask_app.test_many_workers import Serve, eventually, get

from flask_concurrency.jobs.ledger import Filter, Outcome, WorkerInfo
from flask_concurrency.jobs.opening import open_ledger

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
    assert browser.script("return document.getElementById('jobs').hidden")  # it has none

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


def test_jobs_are_seen_from_the_first_to_the_last(
    serve: Serve, browser: Visitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That they wait for a worker that is not there, that one has come, and that they failed."""
    ledger_url = f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    monkeypatch.setenv("JOB_DASHBOARD_LEDGER", ledger_url)
    url = serve("tests/apps/job_dashboard", "gunicorn-gthread", workers=2, threads=8)
    browser.open(f"{url}/_concurrency/")
    browser.wait(lambda: browser.script("return !document.getElementById('jobs').hidden"))
    assert tiles(browser) == ["0", "0", "0 lately", "–", "0"]
    for year in (2025, 2026):
        assert requests.post(f"{url}/reports/{year}", timeout=20).status_code == 202
    browser.wait(lambda: "no worker is alive" in words(browser))
    assert browser.script("return document.getElementById('words').dataset.level") == "bad"
    assert tiles(browser)[0] == "2"
    with closing(open_ledger(ledger_url, app="job_dashboard", volatile=True)) as ledger:
        ledger.join(WorkerInfo("w1", "here", 1, ("build_report",), 1, 0.0))
        (record,) = ledger.claim("w1", ["build_report"], 1)
        browser.wait(lambda: "Jobs: 1 running; 1 queued" in words(browser))
        browser.wait(lambda: tiles(browser)[:2] + tiles(browser)[-1:] == ["1", "1", "1"])
        ledger.end(record.id, 1, Outcome("succeeded", result='{"value":1}'))
        requests.delete(f"{url}/jobs/{ledger.find(Filter(status='queued'))[0].id}", timeout=20)
        row = "return document.getElementById('job-rows').textContent"
        browser.wait(lambda: browser.script(row).replace("\n", "").startswith("build_report20001"))
        ledger.leave("w1")
    assert [entry["message"] for entry in browser.logged("browser")] == []


def tiles(browser: Visitor) -> list[str]:
    """Queued, running, failed, oldest waiting, workers alive."""
    found: list[str] = browser.script(
        "return [...document.querySelectorAll('#job-tiles dd')].map(e => e.textContent)"
    )
    return found


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
