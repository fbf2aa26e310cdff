"""The page is correct, loads nothing from elsewhere, and runs no script but its own."""

from __future__ import annotations

import inspect
import re
from contextlib import closing
from typing import Any

import pytest
from examples.demo import burst, fetching, measuring, overloaded, pictures, reporting, waiting
from examples.demo.choices import LIMITS
from examples.demo.load import Answer
from examples.demo.origins import Origins
from examples.demo.shown_code import highlighted, source_of
from flask.testing import FlaskClient

from flask_concurrency import InFlight, Rate
from flask_concurrency.vocabulary.limits import read_limits

SHOWN = [
    *((burst, limit.view) for limit in LIMITS),
    (fetching, "on_threads"),
    (pictures, "fractal_on_all_processes"),
    (pictures, "contact_sheet_on_all_processes"),
    (waiting, "wait"),
    (overloaded, "create_app"),
    (reporting, "report"),
    (reporting, "create"),
]


@pytest.mark.parametrize(("module", "view"), SHOWN)
def test_the_code_on_the_page_is_the_code_that_runs(
    page: FlaskClient, module: Any, view: str
) -> None:
    """Each view stands there as it stands in its file, decorators included."""
    source = source_of(module.__name__.rpartition(".")[2], view)

    assert inspect.getsource(getattr(module, view)).strip() == source
    assert str(highlighted(source)) in page.get("/").text


def test_code_that_does_not_exist_cannot_be_shown() -> None:
    """A renamed view is noticed."""
    with pytest.raises(LookupError, match="no function 'vanished'"):
        source_of("burst", "vanished")


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.view)
def test_every_limit_offered_is_the_one_behind_its_view(api: FlaskClient, limit: Any) -> None:
    """The header field of an answer names the limit that the page does."""
    policies = api.get(f"{limit.path}?milliseconds=0").headers["RateLimit-Policy"]

    for written in read_limits(limit.text):
        assert isinstance(written, Rate | InFlight)
        unit = "concurrent-requests" if isinstance(written, InFlight) else f"w={written.period:g}"
        assert re.search(rf";q={written.quota};[^,]*{unit}", policies)


def test_the_view_to_compare_with_has_no_limit(api: FlaskClient) -> None:
    """Not even the default one."""
    assert "RateLimit" not in api.get("/burst/no-limit?milliseconds=0").headers


def test_nothing_on_the_page_comes_from_elsewhere(page: FlaskClient) -> None:
    """Every address in page, scripts and styles is the demo's own."""
    origins = Origins()

    for path in ["/", *loaded(page)]:
        text = content(page, path)
        addresses = set(re.findall(r"https?://[^\s\"'<`$]+", text)) - {"http://www.w3.org/2000/svg"}
        assert {address.rstrip("/") for address in addresses} <= {origins.page, origins.api}


def test_everything_the_page_loads_is_there(page: FlaskClient) -> None:
    """Styles, scripts, and what the scripts import."""
    assert len(loaded(page)) >= 10
    for path in loaded(page):
        assert content(page, path)


def content(page: FlaskClient, path: str) -> str:
    """The text of what is at ``path``, which must be there."""
    with closing(page.get(path)) as answer:  # a static file is open until then
        assert answer.status_code == 200, path
        text: str = answer.text
    return text


def loaded(page: FlaskClient) -> set[str]:
    """Paths of all files that the page loads, directly or from a script."""
    found = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.get("/").text))
    waiting_for = [path for path in found if path.endswith(".js")]
    while waiting_for:
        script = content(page, waiting_for.pop())
        for name in re.findall(r'from "\./([^"]+)"', script):
            if (path := f"/static/{name}") not in found:
                found.add(path)
                waiting_for.append(path)
    return found


def test_no_script_or_style_stands_in_the_page_itself(page: FlaskClient) -> None:
    """So that the policy can forbid them, which stops whatever a visitor might inject."""
    answer = page.get("/")
    policy = answer.headers["Content-Security-Policy"]

    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", answer.text)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"connect-src 'self' {Origins().api};" in policy


def test_a_measurement_says_what_the_servers_used() -> None:
    """Loops and processes that answered, processor time since the run before, who failed."""
    before = [answer(process=1, loop=1, cpu=5.0), answer(process=2, loop=1, cpu=1.0)]
    after = [
        answer(process=1, loop=1, cpu=5.5, answered=0.3),
        answer(process=2, loop=1, cpu=1.2, answered=0.2),
        answer(process=2, loop=2, cpu=1.1, answered=0.1),
        Answer(None, "reset", 0.0, 0.0),
        Answer(503, {}, 0.0, 9.0),
    ]

    found = measuring.summary(after, before=before)

    assert found["waits"] == [[0.0, 0.1], [0.0, 0.2], [0.0, 0.3]]
    assert (found["seconds"], found["loops"], found["processes"]) == (0.3, 3, 2)
    assert found["cpu"] == pytest.approx(0.7)
    assert found["failed"] == 2


def answer(*, process: int, loop: int, cpu: float, answered: float = 0.0) -> Answer:
    """A good answer of the view that waits."""
    return Answer(200, {"process": process, "loop": loop, "cpu": cpu}, 0.0, answered)
