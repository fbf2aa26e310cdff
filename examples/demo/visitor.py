"""A visitor of the page who is a program: opens Chromium, fills forms in, presses buttons.

Decides how to drive the page and when a panel is done; judges nothing of what it sees.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
TIMEOUT = 60.0
"""Seconds a panel may take."""
PANELS = ("limit", "threads", "processes", "async", "overload", "jobs")


class BrowserMissing(Exception):
    """There is no Chromium, or no driver for it."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"{missing} is not on PATH: run scripts/install --browser.")


@contextmanager
def chromium(*, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Visitor]:
    """Open a fresh Chromium without a profile, and close it at the end of the block.

    :param width: Of the window, in CSS pixels; likewise ``height``.
    :param dark: Whether the visitor prefers dark colours.
    :raises BrowserMissing: It is not installed.
    """
    with TemporaryDirectory(prefix="visitor-") as profile:
        options = ChromeOptions()
        options.binary_location = _find(*BROWSERS)
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=ChromeService(_find("chromedriver")))
        try:
            visitor = Visitor(driver)
            visitor.resize(width, height)
            visitor.prefer("dark" if dark else "light")
            yield visitor
        finally:
            driver.quit()


class Visitor:
    """One window of a browser; made by :func:`chromium`.

    :ivar driver: Selenium's driver, for what is not offered here.
    """

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Go to the page and wait until its panels work."""
        self.driver.get(url)
        self.wait(lambda: self.script("return document.body.dataset.ready") == "true")

    def resize(self, width: int, height: int) -> None:
        """Give the window a size in CSS pixels, smaller than a desktop's if need be."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """Prefer ``"light"`` or ``"dark"`` colours."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def script(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and give what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Any) -> Any:
        """Wait until ``condition()`` is true, and give it."""
        return WebDriverWait(self.driver, TIMEOUT, poll_frequency=0.05).until(
            lambda _driver: condition()
        )

    def panel(self, name: str) -> Panel:
        """One of the :data:`PANELS`."""
        return Panel(self, self.driver.find_element(By.ID, name))

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """What Chromium has logged since the last time.

        :param kind: ``"browser"`` for the console, ``"performance"`` for its network events.
        """
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def photograph(self, path: Path) -> None:
        """Save the whole page as a PNG, also what lies below the window's edge."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(shot["data"]))


class Panel:
    """One panel of the page."""

    def __init__(self, visitor: Visitor, section: WebElement) -> None:
        self._visitor = visitor
        self.section = section

    def find(self, selector: str) -> WebElement:
        """The first element in the panel that a CSS selector matches."""
        return self.section.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All such elements."""
        return self.section.find_elements(By.CSS_SELECTOR, selector)

    def fill(self, **values: object) -> None:
        """Type into fields, given by name, in place of what stood there."""
        for name, value in values.items():
            field = self.find(f'[name="{name}"]')
            field.clear()
            field.send_keys(str(value))

    def choose(self, value: str) -> None:
        """Choose the radio button with this value."""
        self.find(f'[type="radio"][value="{value}"]').click()

    def press(self) -> None:
        """Press the panel's button and wait until its run is over."""
        self.start()
        self.finish()

    def start(self) -> None:
        """Press the panel's button."""
        self.find(".run").click()

    def finish(self) -> None:
        """Wait until the panel is idle again."""
        self._visitor.wait(lambda: self.section.get_attribute("aria-busy") == "false")

    @property
    def status(self) -> str:
        """What the status line says."""
        return self.find(".status").text

    @property
    def error(self) -> str:
        """What the alert says; empty where there is none."""
        return self.find(".error").text

    def times(self, chart: str = ".time") -> tuple[float, float]:
        """The two times a chart shows, in seconds: the usual way and ours."""
        data = self._visitor.script("return {...arguments[0].dataset}", self.find(f".chart{chart}"))
        return float(data["usual"]), float(data["ours"])


def _find(*names: str) -> str:
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    raise BrowserMissing(names[0])
