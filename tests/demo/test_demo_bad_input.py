"""Whatever a visitor sends, the demo says in one sentence what is wrong with it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from examples.demo.allowed_urls import MAX_URLS, UrlRefused, allowed_urls
from examples.demo.sizes import MAX_UPLOAD
from flask.testing import FlaskClient
from PIL import Image

ORIGIN = "http://127.0.0.1:8600"
SHEET = "/pictures/contact-sheet/in-one-process"
FRACTAL = "/pictures/fractal/in-one-process"


def photo(
    width: int = 48, height: int = 32, *, file_format: str = "PNG", mode: str = "RGB"
) -> bytes:
    """A photo of so many pixels, encoded."""
    content = io.BytesIO()
    Image.new(mode, (width, height), "teal").save(content, file_format)
    return content.getvalue()


BAD_NUMBERS = [  # (path, words of the answer)
    ("/burst/no-limit?milliseconds=soon", "milliseconds = 'soon': give a number from 0 to 1000"),
    ("/burst/no-limit?milliseconds=1e9", "from 0 to 1000"),
    ("/burst/no-limit?milliseconds=nan", "from 0 to 1000"),
    ("/burst/no-limit?milliseconds=" + "9" * 5000, "'" + "9" * 40 + "…'"),
    (f"{FRACTAL}?width=48.5", "give a whole number"),
    (f"{FRACTAL}?width=0", "width = '0'"),
    (f"{FRACTAL}?zoom=-1", "zoom = '-1'"),
    (f"{FRACTAL}?width=1200&height=1200&iterations=5000", "choose a smaller picture"),
    ("/wait?seconds=-1", "seconds = '-1'"),
]


@pytest.mark.parametrize(("path", "words"), BAD_NUMBERS)
def test_a_number_out_of_bounds_is_refused(api: FlaskClient, path: str, words: str) -> None:
    """The answer names the parameter, what was sent, and what may be."""
    answer = api.get(path)

    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert answer.json is not None
    assert words in answer.json["detail"]


BAD_URLS = [
    "",
    "not a url",
    "http://",
    "https://127.0.0.1:8600/",
    "http://127.0.0.1:8601/burst/no-limit",
    "http://127.0.0.1:22/",
    "http://127.0.0.1/",
    "http://127.0.0.1:8600@example.com/",
    "http://user:secret@127.0.0.1:8600/",
    "http://127.0.0.1:8600.example.com/",
    "http://127.0.0.1:99999/",
    "http://[::1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://example.com/#http://127.0.0.1:8600/",
    "http://127.0.0.1:8600/a b",
    "http://127.0.0.1:8600/\r\nX-Smuggled: 1",
    "http://127.0.0.1:8600/ä",
    "http://127.0.0.1:8600/" + "a" * 500,
    "file:///etc/passwd",
    "ftp://127.0.0.1:8600/",
    "javascript:alert(1)",
    7,
    None,
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_no_url_leads_elsewhere_than_to_the_demo(url: object) -> None:
    """Another host, port, scheme or user is refused, however it is disguised."""
    with pytest.raises(UrlRefused, match="its own pages only"):
        allowed_urls([f"{ORIGIN}/pages/1", url], origins={ORIGIN})


@pytest.mark.parametrize("wanted", [None, "http://127.0.0.1:8600/", [], {}, [ORIGIN] * 33])
def test_there_must_be_a_few_urls(wanted: object) -> None:
    """Neither none nor more than the demo fetches at once."""
    with pytest.raises(UrlRefused, match=f"1 to {MAX_URLS} URLs"):
        allowed_urls(wanted, origins={ORIGIN})


def test_the_demos_own_pages_are_allowed() -> None:
    """With path, query, and the host in capitals."""
    urls = [f"{ORIGIN}/pages/1?delay=0.2", ORIGIN, "HTTP://127.0.0.1:8600/x#y"]

    assert allowed_urls(urls, origins={ORIGIN}) == urls


BAD_BODIES: list[tuple[dict[str, Any], int]] = [
    ({"json": {"urls": ["gopher://x"]}}, 400),
    ({"json": ["http://127.0.0.1:8600/"]}, 400),
    ({"data": "{", "content_type": "application/json"}, 400),
    ({"data": "urls=x"}, 415),
]


@pytest.mark.parametrize("way", ["one-by-one", "on-threads"])
@pytest.mark.parametrize(("body", "status"), BAD_BODIES)
def test_a_body_without_urls_is_refused(
    api: FlaskClient, way: str, body: dict[str, Any], status: int
) -> None:
    """Malformed JSON, another type, another shape."""
    answer = api.post(f"/pages/{way}", **body)

    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"


BAD_UPLOADS = [  # (content, status, words of the answer)
    (b"", 400, "The upload is empty"),
    (b"no image at all", 415, "is no image"),
    (photo()[:60], 415, "damaged"),
    (photo(file_format="TIFF"), 415, "is no image"),
    (photo(8, 8), 415, "too narrow"),
    (photo(16, 400), 415, "too narrow"),
    (photo(8000, 6300, mode="1"), 415, "too many"),
]


@pytest.mark.parametrize(("content", "status", "words"), BAD_UPLOADS)
def test_an_upload_that_is_no_photo_is_refused(
    api: FlaskClient, content: bytes, status: int, words: str
) -> None:
    """Empty, no image, cut off, or of a shape that no sheet can hold."""
    answer = api.post(SHEET, data={"photo": (io.BytesIO(content), "photo.png")})

    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json is not None
    assert words in answer.json["detail"]


def test_a_larger_upload_than_the_api_takes_is_refused(api: FlaskClient) -> None:
    """The answer says how much is the most."""
    form = {"content_type": "multipart/form-data; boundary=x", "data": bytes(MAX_UPLOAD + 1)}

    answer = api.post(SHEET, **form)

    assert answer.status_code == 413
    assert answer.json is not None
    assert "larger than 12 MB" in answer.json["detail"]


def test_a_form_without_a_photo_is_refused(api: FlaskClient) -> None:
    """As a browser sends it when nothing was chosen, and with no form at all."""
    assert api.post(SHEET, data={"photo": (io.BytesIO(b""), "")}).status_code == 400
    assert api.post(SHEET).status_code == 400


@pytest.mark.parametrize("server", ["api", "page"])
def test_an_unknown_address_is_a_problem_too(server: str, request: pytest.FixtureRequest) -> None:
    """404 and 405 speak as all other errors do, and 405 still says what is allowed."""
    client: FlaskClient = request.getfixturevalue(server)
    known = "/burst/no-limit" if server == "api" else "/"

    missing, wrong = client.get("/nowhere"), client.delete(known)

    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.content_type == wrong.content_type == "application/problem+json"
    assert "GET" in wrong.headers["Allow"]


@pytest.mark.parametrize("query", ["requests=0", "requests=257", "requests=1.5", "seconds=3"])
@pytest.mark.parametrize("way", ["stock-flask", "flask-concurrency"])
def test_more_waits_than_the_servers_have_threads_are_refused(
    page: FlaskClient, way: str, query: str
) -> None:
    """Beyond that not all would wait at once."""
    assert page.post(f"/measure/{way}?{query}").status_code == 400


def test_a_refusal_of_input_can_be_read_by_the_page(api: FlaskClient) -> None:
    """The CORS header fields stand on errors as well, and only for the page's origin."""
    ours = api.get("/nowhere", headers={"Origin": ORIGIN})
    strange = api.get("/nowhere", headers={"Origin": "http://127.0.0.1:9999"})

    assert ours.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Origin" not in strange.headers


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("times=6", "times = '6'"),
        ("times=0", "times = '0'"),
        ("times=nan", "times = 'nan'"),
        ("times=many", "times = 'many'"),
        ("seconds=21", "seconds = '21'"),
        ("seconds=", "seconds = ''"),
    ],
)
def test_a_load_beyond_the_bounds_is_refused(page: FlaskClient, query: str, told: str) -> None:
    """Before anything is sent."""
    answer = page.post(f"/overload/load?{query}")
    assert answer.status_code == 400
    assert answer.json is not None
    assert told in answer.json["detail"]


def test_a_report_that_takes_too_long_is_refused(page: FlaskClient) -> None:
    """400, before a job is accepted."""
    assert page.post("/reports?seconds=31").status_code == 400
    assert page.post("/reports?seconds=long").status_code == 400


def test_the_worker_of_a_job_that_does_not_run_cannot_be_killed(page: FlaskClient) -> None:
    """404 for an unknown id, 409 for a job that still waits."""
    assert page.post("/reports/unknown/kill-its-worker").status_code == 404
    waiting = page.post("/reports?seconds=1").get_json()["id"]
    assert page.post(f"/reports/{waiting}/kill-its-worker").status_code == 409
