"""Every button of the page does in Chromium what it says, and shows what came of it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from examples.demo.visitor import Panel, Visitor
from PIL import Image
from selenium.webdriver.common.by import By

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

COUNTED = ("good", "late", "refused")
SQUARES = (".square.admitted", ".square.refused", ".square.busy")


def drawn(panel: Panel) -> list[int]:
    """How many squares show an admitted, a refused and a busy answer."""
    return [len(panel.all(f".squares {kind}")) for kind in SQUARES]


def tally(panel: Panel) -> list[int]:
    """The same as numbers below the squares."""
    return [int(panel.find(f'[data-count="{k}"]').text) for k in ("admitted", "refused", "busy")]


def field(panel: Panel, name: str) -> str:
    """What the page says about a header field of the last answer."""
    return panel.find(f'[data-field="{name}"]').text


def test_a_burst_shows_who_was_let_in_and_when_to_come_back(visitor: Visitor) -> None:
    """Five of twenty, whichever worker they meet; a page elsewhere reads the header fields."""
    limit = visitor.panel("limit")
    limit.fill(requests=20, at_once=3, milliseconds=0)

    limit.press()

    assert drawn(limit) == tally(limit) == [5, 15, 0]
    assert limit.status == "5 of 20 admitted, 15 refused at once."
    assert field(limit, "status") == "429"
    assert 1 <= int(field(limit, "retry-after")) <= 120
    assert '"route:5/minute";r=0;t=' in field(limit, "ratelimit")
    assert '"route:5/minute";q=5;w=60' in field(limit, "ratelimit-policy")
    assert min(limit.times()) > 0
    assert "5/minute" in limit.find(".chart.time").text
    assert limit.find(".countdown").get_attribute("data-state") == "waiting"


def test_answers_are_drawn_as_they_come(visitor: Visitor) -> None:
    """Some squares are filled while others still wait."""
    limit = visitor.panel("limit")
    limit.choose("/burst/four-in-flight")
    limit.fill(requests=6, at_once=1, milliseconds=200)

    limit.start()

    visitor.wait(lambda: 0 < drawn(limit)[0] < 6)
    assert limit.section.get_attribute("aria-busy") == "true"
    limit.finish()
    assert drawn(limit) == [6, 0, 0]


def test_more_at_once_than_there_are_places_are_told_that_the_server_is_busy(
    visitor: Visitor,
) -> None:
    """Six at once where two may be in flight, over all workers: four are answered 503."""
    limit = visitor.panel("limit")
    limit.choose("/burst/stacked")
    assert '"30/minute; 2 in flight"' in limit.find(".code:not([hidden])").text
    limit.fill(requests=6, at_once=6, milliseconds=1000)

    limit.press()

    assert drawn(limit) == [2, 0, 4]


def test_the_countdown_runs_to_the_instant_of_the_next_permit(visitor: Visitor) -> None:
    """It counts down second by second, and when it ends the next request is admitted."""
    limit = visitor.panel("limit")
    limit.choose("/burst/ten-in-ten-seconds")
    limit.fill(requests=24, at_once=6, milliseconds=0)
    limit.press()
    first = limit.find(".countdown .time").text

    visitor.wait(lambda: limit.find(".countdown .time").text not in (first, "now"))
    visitor.wait(lambda: limit.find(".countdown .time").text == "now")
    limit.fill(requests=1)
    limit.press()

    assert drawn(limit) == [1, 0, 0]


def test_a_run_can_be_stopped(visitor: Visitor) -> None:
    """The button appears while a panel runs; the panel can be run again after it."""
    limit = visitor.panel("limit")
    limit.choose("/burst/four-in-flight")
    limit.fill(requests=120, at_once=1, milliseconds=1000)
    assert not limit.find(".stop").is_displayed()

    limit.start()
    limit.find(".stop").click()
    limit.finish()

    assert limit.status == "Stopped."
    limit.fill(requests=1, milliseconds=0)
    limit.press()
    assert limit.status.startswith("1 of 1 admitted")


def test_pages_are_fetched_both_ways(visitor: Visitor) -> None:
    """Six real pages, each 0.15 s late; the chart shows both times and the speed-up."""
    threads = visitor.panel("threads")
    threads.fill(pages=6, delay="0.15")
    urls = (threads.find("textarea").get_attribute("value") or "").split("\n")
    assert len(urls) == 6
    assert urls[5].endswith("/pages/6?delay=0.15")

    threads.press()

    rows = [row.text for row in threads.all(".timeline .row-label")]
    assert rows[:3] == ["The kettle", "The lift", "The post office"]
    assert len(rows) == 6
    assert len(threads.all(".timeline .span")) == 12
    one_by_one, on_threads = threads.times()
    assert one_by_one >= 6 * 0.15
    assert one_by_one > on_threads >= 0.15
    shown = threads.find(".gain b").text.removesuffix("×")
    assert float(shown) == pytest.approx(one_by_one / on_threads, rel=0.06)
    assert threads.status.startswith("6 pages fetched")


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ("not a url", "'not a url' is refused"),
        ("http://example.com/", "'http://example.com/' is refused"),
        ("   ", "Give 1 to 32 URLs"),
    ],
)
def test_a_bad_url_is_explained_on_the_page(visitor: Visitor, urls: str, words: str) -> None:
    """In the panel, as an alert; the panel can be used at once again."""
    threads = visitor.panel("threads")
    threads.fill(urls=urls)

    threads.press()

    assert words in threads.error
    assert threads.find(".error").aria_role == "alert"
    assert threads.find(".run").is_enabled()
    threads.fill(pages=2)
    threads.press()
    assert threads.error == ""


def colours(visitor: Visitor, panel: Panel) -> int:
    """How many colours the picture on display has."""
    found: int = visitor.script(
        """
        const [image] = arguments, canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(pixels.buffer)).size;
        """,
        panel.find(".picture img"),
    )
    return found


def size(panel: Panel) -> tuple[int, int]:
    """Width and height of the picture itself, in pixels."""
    image = panel.find(".picture img")
    return int(image.get_property("naturalWidth")), int(image.get_property("naturalHeight"))  # type: ignore[arg-type]


def test_a_fractal_is_computed_both_ways_and_can_be_zoomed_into(visitor: Visitor) -> None:
    """Real pixels, both times, who computed what; a click goes closer."""
    processes = visitor.panel("processes")
    processes.find('[name="size"] option').click()
    processes.fill(iterations=60)

    processes.press()

    assert size(processes) == (240, 160)
    assert colours(visitor, processes) > 40
    assert min(processes.times()) > 0
    assert "24 tiles on" in processes.status
    rows = [row.text for row in processes.all(".timeline .row-label")]
    assert rows[:2] == ["One process", "Worker 1"]
    assert len(processes.all(".timeline .span.usual")) == 24
    assert len(processes.all(".timeline .span.ours")) == 24

    before = processes.find(".picture img").get_attribute("src")
    processes.find(".picture img").click()
    visitor.wait(lambda: processes.find(".picture img").get_attribute("src") != before)
    processes.finish()
    assert processes.find('[name="zoom"]').get_attribute("value") == "2250"


def test_a_place_fills_the_numbers_in(visitor: Visitor) -> None:
    """Choosing the whole set goes there; the numbers remain the visitor's to change."""
    processes = visitor.panel("processes")

    processes.find('[name="place"] option:last-child').click()

    values = [processes.find(f'[name="{n}"]').get_attribute("value") for n in ("x", "zoom")]
    assert values == ["-0.6", "1"]


@pytest.fixture
def upload(visitor: Visitor, tmp_path: Path) -> Callable[[bytes], Panel]:
    """Choose a file with this content as the photo, and press the button."""

    def send(content: bytes) -> Panel:
        photo = tmp_path / "photo.png"
        photo.write_bytes(content)
        processes = visitor.panel("processes")
        processes.choose("contact-sheet")
        processes.find('[name="photo"]').send_keys(str(photo))
        processes.press()
        return processes

    return send


def test_a_photo_becomes_a_contact_sheet(
    visitor: Visitor, upload: Callable[[bytes], Panel]
) -> None:
    """Twelve tiles of the visitor's own file, with both times."""
    content = io.BytesIO()
    Image.effect_mandelbrot((120, 80), (-2, -1, 1, 1), 100).convert("RGB").save(content, "PNG")

    processes = upload(content.getvalue())

    assert size(processes) == (960, 480)
    assert colours(visitor, processes) > 40
    assert min(processes.times()) > 0
    assert "12 tiles on" in processes.status


BAD_FILES = [  # (content, words of the message)
    (b"", "The upload is empty"),
    (b"no image", "The upload is no image"),
    (bytes(50 * 1024 * 1024), "50 MB, and 12 MB are the most"),
]


@pytest.mark.parametrize(("content", "words"), BAD_FILES, ids=["empty", "no image", "50 MB"])
def test_a_bad_upload_is_explained_on_the_page(
    upload: Callable[[bytes], Panel], content: bytes, words: str
) -> None:
    """Empty, no image, too large."""
    assert words in upload(content).error


def test_pressing_the_button_without_a_photo_is_explained(visitor: Visitor) -> None:
    """The API says so, not the browser."""
    processes = visitor.panel("processes")
    processes.choose("contact-sheet")

    processes.press()

    assert "The upload is empty: choose a photo." in processes.error


def test_the_api_itself_refuses_50_megabytes_in_words_a_page_can_read(visitor: Visitor) -> None:
    """A page that does not look at the size first gets 413 and the reason, no broken connection."""
    visitor.driver.set_script_timeout(60)

    status, body = visitor.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1], form = new FormData();
        form.set("photo", new Blob([new Uint8Array(50 * 1048576)]), "photo.jpg");
        fetch(`${document.body.dataset.api}/pictures/contact-sheet/in-one-process`,
          { method: "POST", body: form }
        ).then(async (answer) => done([answer.status, await answer.text()]),
               (error) => done([0, String(error)]));
        """
    )

    assert status == 413
    assert "larger than 12 MB" in body


def test_simultaneous_waits_share_one_loop_a_worker(visitor: Visitor) -> None:
    """Stock Flask makes a loop for each of the 40 requests; both times, both processor times."""
    waits = visitor.panel("async")
    waits.fill(requests=40, seconds="0.1")

    waits.press()

    stock, ours = (lane.text for lane in waits.all(".facts"))
    assert stock == "40 event loops on 40 threads"
    assert ours in ("1 event loop on 1 thread", "2 event loops on 2 threads")
    assert [len(lane.find_elements(By.CSS_SELECTOR, "rect")) for lane in waits.all(".lane")] == [
        40,
        40,
    ]
    assert waits.times(".threads")[0] == 40
    assert waits.times(".threads")[1] in (1, 2)
    assert "fewer threads" in waits.find(".chart.threads .gain").text
    assert min(waits.times()) >= 0.1
    assert min(waits.times(".cpu")) > 0
    assert waits.status.startswith("Both answered 40 requests")


def test_all_four_run_at_one_press(visitor: Visitor) -> None:
    """One after the other; results stand above the forms."""
    visitor.panel("limit").fill(requests=7, at_once=3, milliseconds=0)
    visitor.panel("threads").fill(pages=3, delay="0")
    visitor.panel("processes").fill(iterations=20)
    visitor.panel("async").fill(requests=8, seconds="0")

    visitor.driver.find_element(By.CSS_SELECTOR, ".everything").click()

    for name in ("limit", "threads", "processes", "async"):
        panel = visitor.panel(name)
        visitor.wait(lambda panel=panel: panel.all(".chart .gain"))
        assert panel.find(".stage").location["y"] < panel.find("form").location["y"]
    assert "told when to come back" in visitor.panel("limit").find(".gain").text


def test_a_killed_worker_costs_a_tile_at_most(visitor: Visitor) -> None:
    """The picture is whole, and the status line names the killed worker."""
    processes = visitor.panel("processes")
    processes.fill(iterations=200)
    processes.find('[name="kill"]').click()

    processes.press()

    assert "was killed in the middle" in processes.status
    assert processes.error == ""
    assert len(processes.all(".timeline .span.usual")) == 24


def test_a_server_that_is_gone_is_explained_on_the_page(visitor: Visitor) -> None:
    """The page asks whether the demo still runs."""
    visitor.driver.execute_cdp_cmd("Network.enable", {})
    visitor.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/burst/*"]})
    try:
        limit = visitor.panel("limit")
        limit.press()
        assert "does not answer. Is the demo still running?" in limit.error
    finally:
        visitor.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        visitor.logged("browser")


def test_a_load_is_drawn_while_it_is_sent(visitor: Visitor) -> None:
    """Three times what they can do: one app refuses, the other is late; both are counted."""
    overload = visitor.panel("overload")
    overload.fill(seconds=3)
    overload.start()
    visitor.wait(lambda: overload.all(".rate.good"))
    overload.finish()
    assert overload.error == ""
    usual, ours = (
        [
            int(place.find_element(By.CSS_SELECTOR, f'[data-count="{what}"]').text)
            for what in COUNTED
        ]
        for place in overload.all(".load")
    )
    assert usual[2] == 0
    assert usual[1] > 0
    assert ours[2] > 0
    assert ours[0] > 0
    assert overload.times(".answers") == (usual[0], ours[0])
    assert f"{ours[0]} answered in time and {ours[2]} refused at once" in overload.status


def test_a_load_can_be_stopped(visitor: Visitor) -> None:
    """The clients end with it."""
    overload = visitor.panel("overload")
    overload.fill(seconds=20)
    overload.start()
    visitor.wait(lambda: overload.all(".rate.good"))
    overload.find(".stop").click()
    overload.finish()
    assert overload.status == "Stopped."


def test_a_job_comes_back_after_its_worker_was_killed(visitor: Visitor) -> None:
    """Its progress is shown; its worker gets SIGKILL; a second attempt finishes the job."""
    panel = visitor.panel("jobs")
    panel.start()
    visitor.wait(lambda: "of 12" in panel.find("job-progress output").text)
    panel.finish()
    assert panel.error == ""
    assert panel.find("job-progress").get_attribute("status") == "succeeded"
    assert re.fullmatch(
        r"Done in 2 attempts: worker \d+ was killed, and the job came back after [\d.]+ m?s\.",
        panel.status,
    )
    assert [row.text for row in panel.all(".timeline .row-label")] == ["Attempt 1", "Attempt 2"]
    assert len(panel.all(".span.usual")) == len(panel.all(".span.ours")) == 1


def test_a_visitor_kills_the_worker_by_hand(visitor: Visitor) -> None:
    """The button works while the job runs, and no other time."""
    panel = visitor.panel("jobs")
    panel.find('[name="kill"]').click()
    button = panel.find(".kill-worker")
    assert not button.is_enabled()
    panel.start()
    visitor.wait(button.is_enabled)
    button.click()
    panel.finish()
    assert panel.status.startswith("Done in 2 attempts")
    assert not button.is_enabled()


def test_to_stop_a_job_ends_it(visitor: Visitor) -> None:
    """The server is told, and its worker ends the job."""
    panel = visitor.panel("jobs")
    panel.fill(seconds=30)
    panel.find('[name="kill"]').click()
    panel.start()
    visitor.wait(panel.find(".kill-worker").is_enabled)
    panel.find(".stop").click()
    panel.finish()
    assert panel.status == "Stopped."
    follow = panel.find("job-progress")
    visitor.wait(lambda: follow.get_attribute("status") == "canceled")
