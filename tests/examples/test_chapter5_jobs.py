"""The fifth chapter's app in a browser: a report is started, killed, followed and cancelled."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask

if TYPE_CHECKING:
    from examples.demo.visitor import Visitor

ROOT = Path(__file__).parents[2]
WITHIN = 40.0


def test_a_report_is_accepted_at_once(load_chapter: Callable[[str], Flask]) -> None:
    """202 and where it is; what is no year is refused by the app as anywhere."""
    app = load_chapter("chapter5_jobs")
    app.testing = True
    client = app.test_client()
    response = client.post("/reports", json={"year": 2026})
    assert response.status_code == 202
    told = client.get(response.headers["Location"]).get_json()
    assert (told["status"], told["name"]) == ("queued", "build_report")
    script = client.get("/jobs/job-progress.js")
    assert script.mimetype == "text/javascript"
    assert b"customElements.define" in script.data
    app.extensions["concurrency_jobs"].ledger.close()


@dataclass
class Shop:
    """The served app."""

    url: str
    process: subprocess.Popen[str]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """The app, served with its worker; one month takes a fifth of a second."""
    source = (ROOT / "examples" / "tutorial" / "chapter5_jobs.py").read_text()
    (tmp_path / "shop.py").write_text(
        source.replace("a_month: float = 1.0", "a_month: float = 0.2")
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flask", "--app", "shop", "concurrency", "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1", "--graceful-timeout", "2"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    give_up_at = time.monotonic() + WITHIN
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    yield Shop(url, process)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def browser() -> Iterator[Visitor]:
    """A Chromium; a missing one fails the test, since nothing else shows that the page works."""
    from examples.demo.visitor import BrowserMissing, chromium

    try:
        with chromium() as visitor:
            yield visitor
    except BrowserMissing as missing:
        pytest.fail(str(missing))


def run(browser: Visitor, script: str) -> object:
    """Run a script on the page."""
    answer: object = browser.driver.execute_script(script)
    return answer


def until(ask: Callable[[], bool], within: float = WITHIN) -> None:
    """Wait for what a page or a process does."""
    give_up_at = time.monotonic() + within
    while not ask():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def shown(browser: Visitor) -> str:
    """What the page says of the job."""
    return str(run(browser, "return document.querySelector('job-progress output').value"))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_browser_follows_its_report_through_a_killed_worker(shop: Shop, browser: Visitor) -> None:
    """Progress, a kill, the page loaded anew, the end: the report comes back and ends once."""
    browser.driver.get(shop.url)
    run(browser, "document.querySelector('#start').click()")
    until(lambda: re.match(r"month [3-9]", shown(browser)) is not None)
    run(browser, "document.querySelector('#kill').click()")
    until(lambda: re.match(r"month [12] |queued", shown(browser)) is not None)
    browser.driver.get(shop.url)  # the page is loaded anew, and remembers
    until(lambda: re.match(r"month", shown(browser)) is not None)
    until(lambda: '"rows":12078' in str(run(browser, "return result.textContent")))
    told = run(browser, "return performance.getEntriesByType('resource').map(e => e.name)")
    assert isinstance(told, list)
    assert any(name.endswith("/events") for name in told)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_browser_cancels_its_report(shop: Shop, browser: Visitor) -> None:
    """The work is gone within half a second, and the page says so."""
    browser.driver.get(shop.url)
    run(browser, "document.querySelector('#start').click()")
    until(lambda: shown(browser).startswith("month"))
    pressed_at = time.monotonic()
    run(browser, "document.querySelector('job-progress button').click()")
    until(lambda: shown(browser) == "canceled")
    assert time.monotonic() - pressed_at < 5.0  # half a second on a machine that does nothing else
    until(lambda: str(run(browser, "return result.textContent")) == "canceled")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_page_whose_events_do_not_come_through_asks(shop: Shop, browser: Visitor) -> None:
    """14: a proxy that breaks streams, or keeps them back, costs a page some seconds, no more."""
    for broken in (
        "class { constructor() { setTimeout(() => { for (let n = 0; n < 3; n++) this.onerror() }) }"
        " addEventListener() {} close() {} }",
        "class { addEventListener() {} close() {} }",
    ):
        browser.driver.get(shop.url)
        run(browser, f"window.EventSource = {broken}; sessionStorage.clear()")
        run(browser, "document.querySelector('#start').click()")
        until(lambda: "rows" in str(run(browser, "return result.textContent")), within=30)
