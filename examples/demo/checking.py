"""See whether every part of a running demo answers as it should. Knows no process."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from examples.demo.choices import LIMITS
from examples.demo.origins import Origins
from examples.demo.servers import DemoError
from PIL import Image

TIMEOUT = 30.0
BOUNDARY = "photo-of-the-check"


def check(origins: Origins) -> None:
    """Ask every part once.

    :raises DemoError: One answers otherwise, or not at all.
    """
    page, api = origins.page, origins.api
    _expect(200, Request(page))
    _expect(200, Request(f"{page}/static/main.js"))
    for limit in LIMITS:
        _expect(200, Request(f"{api}{limit.path}?milliseconds=0"))
    urls = {"urls": [f"{page}/pages/{number}?delay=0" for number in (1, 2)]}
    for way in ("one-by-one", "on-threads"):
        _expect(200, _post(f"{api}/pages/{way}", json.dumps(urls).encode(), "application/json"))
    _expect(400, _post(f"{api}/pages/on-threads", b'{"urls": ["gopher"]}', "application/json"))
    for way in ("in-one-process", "on-all-processes"):
        _expect(200, Request(f"{api}/pictures/fractal/{way}?width=48&height=32&iterations=20"))
        _expect(200, _upload(f"{api}/pictures/contact-sheet/{way}", _photo()))
        _expect(400, _upload(f"{api}/pictures/contact-sheet/{way}", b""))
    _expect(200, _post(f"{page}/overload/load?times=0.5&seconds=0.5", b"", "text/plain"))
    _expect(200, Request(f"{page}/jobs/job-progress.js"))
    _expect(202, _post(f"{page}/reports?seconds=0.1", b"", "text/plain"))
    for way in ("stock-flask", "flask-concurrency"):
        _expect(200, _post(f"{page}/measure/{way}?requests=8&seconds=0.01", b"", "text/plain"))


def _expect(status: int, request: Request) -> None:
    # Never through a proxy of the environment: all of it is on this machine.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            found, body = response.status, response.read()
    except HTTPError as answer:
        found, body = answer.code, answer.read()
    except (URLError, OSError) as error:
        raise DemoError(f"{request.full_url} does not answer: {error}") from None
    if found != status:
        raise DemoError(
            f"{request.full_url} answered {found} instead of {status}: {body[:300].decode()}"
        )


def _post(url: str, body: bytes, media_type: str) -> Request:
    headers: Mapping[str, str] = {"Content-Type": media_type}
    return Request(url, data=body, headers=dict(headers), method="POST")


def _upload(url: str, content: bytes) -> Request:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    return _post(url, body, f"multipart/form-data; boundary={BOUNDARY}")


def _photo() -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (48, 32), "teal").save(png, "PNG")
    return png.getvalue()
