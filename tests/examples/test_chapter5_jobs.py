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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from tests.stores.conftest import RedisServer, find_port

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


KEEPING = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")
"""Options of a Redis server that keeps jobs, which must not be lost."""

CELERY = """
from celery import Celery

celery = Celery("shop", broker={redis!r})
app.config["CONCURRENCY_JOBS"] = {{
    "engine": "celery", "app": "shop:celery", "ledger": {redis!r}, "lease": 2.0
}}
concurrency = Concurrency(app)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """The app, served with its worker; one month takes a fifth of a second."""
    with served(tmp_path, source_of_the_shop()) as shop:
        yield shop


@pytest.fixture
def shop_on_celery(tmp_path: Path) -> Iterator[Shop]:
    """The same app, whose jobs two Celery workers run; only its configuration differs."""
    with RedisServer(*KEEPING, port=find_port()) as redis, ExitStack() as stack:
        made = "concurrency = Concurrency(app)\n"
        source = source_of_the_shop()
        assert made in source
        url = f"redis://127.0.0.1:{redis.port}/0"
        shop = stack.enter_context(served(tmp_path, source.replace(made, CELERY.format(redis=url))))
        for name in ("one", "two"):
            stack.enter_context(celery_worker(tmp_path, name))
        yield shop


def source_of_the_shop() -> str:
    """The chapter's file, with months of a fifth of a second."""
    source = (ROOT / "examples" / "tutorial" / "chapter5_jobs.py").read_text()
    return source.replace("a_month: float = 1.0", "a_month: float = 0.2")


@contextmanager
def celery_worker(home: Path, name: str) -> Iterator[None]:
    """A worker of Celery with its default settings, until the end of the block."""
    command = [sys.executable, "-m", "celery", "-A", "shop:celery", "worker"]
    worker = subprocess.Popen(
        [*command, "-c", "2", "-n", f"{name}@%h", "-l", "warning"],
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


@contextmanager
def served(tmp_path: Path, source: str, *options: str) -> Iterator[Shop]:
    """An app, served until the end of the block."""
    (tmp_path / "shop.py").write_text(source)
    port = find_port()
    command = [sys.executable, "-m", "flask", "--app", "shop", "concurrency", "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1", "--graceful-timeout", "2", *options],
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
    try:
        yield Shop(url, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Visitor]:
    """A Chromium; a missing one fails the test, since nothing else shows that the page works.

    Each test serves the page on a port of its own, of which a browser remembers nothing.
    """
    with opened_browser() as visitor:
        yield visitor


@pytest.fixture(scope="module")
def other_browser() -> Iterator[Visitor]:
    """One of another user: a profile of its own."""
    with opened_browser() as visitor:
        yield visitor


@contextmanager
def opened_browser() -> Iterator[Visitor]:
    """A Chromium until the end of the block."""
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
@pytest.mark.parametrize("served_by", ["shop", "shop_on_celery"])
def test_a_report_survives_its_worker_and_another_is_cancelled(
    served_by: str,
    request: pytest.FixtureRequest,
    browser: Visitor,
    other_browser: Visitor,
    record_property: Callable[[str, object], None],
) -> None:
    """Progress, a kill, the page loaded anew, the end; another browser cancels its own at once."""
    shop: Shop = request.getfixturevalue(served_by)
    browser.driver.get(shop.url)
    run(browser, "document.querySelector('#start').click()")
    until(lambda: re.match(r"month [3-9]", shown(browser)) is not None)
    killed_at = time.monotonic()
    run(browser, "document.querySelector('#kill').click()")
    until(lambda: re.match(r"month [12] |queued", shown(browser)) is not None)
    browser.driver.get(shop.url)  # the page is loaded anew, and remembers
    until(lambda: re.match(r"month", shown(browser)) is not None)
    back = time.monotonic() - killed_at

    other_browser.driver.get(shop.url)
    assert shown(other_browser) == ""  # it follows no job of the first one
    run(other_browser, "document.querySelector('#start').click()")
    until(lambda: shown(other_browser).startswith("month"))
    pressed_at = time.monotonic()
    run(other_browser, "document.querySelector('job-progress button').click()")
    until(lambda: shown(other_browser) == "canceled")
    cancelled = time.monotonic() - pressed_at
    assert cancelled < 5.0  # half a second on a machine that does nothing else
    until(lambda: str(run(other_browser, "return result.textContent")) == "canceled")

    until(lambda: '"rows":12078' in str(run(browser, "return result.textContent")))
    told = run(browser, "return performance.getEntriesByType('resource').map(e => e.name)")
    assert isinstance(told, list)
    assert any(name.endswith("/events") for name in told)
    for name, seconds in (("back", back), ("cancelled", cancelled)):
        record_property(name, seconds)
        print(f"{served_by}: {name} after {seconds:.2f} s")


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
