"""The page works by keyboard, in a narrow window, in the dark, and read aloud."""

from __future__ import annotations

import re

import pytest
from examples.demo.visitor import PANELS, Visitor
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NARROW = [360, 320]
READ = [
    "h1",
    ".lead",
    ".legend",
    ".explanation",
    ".status",
    ".label",
    ".run",
    ".chapter",
    ".code b",
]


def press(visitor: Visitor, *keys: str) -> None:
    """Press keys, wherever the focus is."""
    ActionChains(visitor.driver).send_keys(*keys).perform()


def tab_to(visitor: Visitor, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(80):
        press(visitor, Keys.TAB)
        if visitor.script("return document.activeElement.matches(arguments[0])", selector):
            return
    pytest.fail(f"{selector} cannot be reached with Tab.")


def quick(visitor: Visitor) -> None:
    """Give all panels little to do."""
    visitor.panel("limit").fill(requests=6, milliseconds=0)
    visitor.panel("limit").choose("/burst/four-in-flight")
    visitor.panel("threads").fill(pages=3, delay="0")
    visitor.panel("processes").find('[name="size"] option').click()
    visitor.panel("processes").fill(iterations=20)
    visitor.panel("async").fill(requests=8, seconds="0")
    visitor.panel("overload").fill(seconds=1)
    visitor.panel("jobs").fill(seconds=1)
    visitor.panel("jobs").find('[name="kill"]').click()


def test_every_panel_can_be_run_by_keyboard(visitor: Visitor) -> None:
    """Tab reaches each button in order, the focus can be seen, Enter runs, the focus stays."""
    quick(visitor)
    visitor.script("document.activeElement.blur()")

    for name in PANELS:
        tab_to(visitor, f"#{name} .run")
        outline = visitor.script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        press(visitor, Keys.ENTER)
        panel = visitor.panel(name)
        visitor.wait(lambda panel=panel: panel.all(".chart .gain, .timeline .span"))
        panel.finish()
        assert visitor.script(
            "return document.activeElement.matches(arguments[0])", f"#{name} .run"
        )


def test_a_limit_is_chosen_with_the_arrow_keys(visitor: Visitor) -> None:
    """The code beside it follows."""
    tab_to(visitor, '#limit [value="/burst/five-a-minute"]')

    press(visitor, Keys.ARROW_DOWN)

    assert '"10 per 10 seconds"' in visitor.panel("limit").find(".code:not([hidden])").text


def test_every_control_and_drawing_has_a_name(visitor: Visitor) -> None:
    """What a screen reader says where others look; idle and after a run."""
    quick(visitor)
    for name in PANELS:
        visitor.panel(name).press()

    found = visitor.driver.find_elements(
        By.CSS_SELECTOR, "input, select, textarea, button, [role=img], [role=timer], img, .code"
    )

    assert len(found) > 30
    nameless = [e.get_attribute("outerHTML") for e in found if _shown(e) and not e.accessible_name]
    assert nameless == []
    answers = visitor.panel("overload").find(".chart.answers .bars")
    assert re.fullmatch(r"Without: \d+\. With it: \d+\. [+−]\d+ in time\.", answers.accessible_name)
    for name in PANELS[:4]:
        chart = visitor.panel(name).find(".chart.time .bars")
        assert re.search(
            r"[\d.]+ m?s\. .+: [\d.]+ m?s\. [\d.]+ (times|told)", chart.accessible_name
        )


def _shown(element: object) -> bool:
    return bool(element.is_displayed())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", NARROW)
def test_a_narrow_window_never_scrolls_sideways(visitor: Visitor, width: int) -> None:
    """Neither before nor after every panel has run."""
    visitor.resize(width, 740)
    visitor.open(visitor.driver.current_url)

    widths = [_page_width(visitor)]
    quick(visitor)
    for name in PANELS:
        visitor.panel(name).press()
        widths.append(_page_width(visitor))

    assert widths == [width] * (1 + len(PANELS))


def _page_width(visitor: Visitor) -> int:
    found: int = visitor.script(
        """
        const ends = [...document.querySelectorAll("body *")]
          .filter((element) => !element.closest(".code, textarea, svg"))
          .map((element) => element.getBoundingClientRect().right);
        return Math.max(innerWidth, document.scrollingElement.scrollWidth, ...ends.map(Math.floor));
        """
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_light_and_in_dark(visitor: Visitor, scheme: str) -> None:
    """The background follows the visitor's wish; text keeps a contrast of 4.5 to 1 (WCAG AA)."""
    visitor.prefer(scheme)

    paper = luminance(visitor.script("return getComputedStyle(document.body).backgroundColor"))

    assert paper < 0.05 if scheme == "dark" else paper > 0.85
    for selector in READ:
        ink, behind = visitor.script(
            """
            let element = document.querySelector(arguments[0]);
            const ink = getComputedStyle(element).color;
            while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)")
              element = element.parentElement;
            return [ink, getComputedStyle(element).backgroundColor];
            """,
            selector,
        )
        light, dark = sorted((luminance(ink), luminance(behind)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(…)``, as WCAG defines it."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
