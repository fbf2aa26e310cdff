"""All of the extension where gevent has made greenlets of threads: gunicorn's ``gevent`` class."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

pytestmark = pytest.mark.slow

Serve = Callable[..., str]
APP = "tests/apps/green"
GIVE_UP = 30.0


@pytest.fixture(scope="module")
def url(serve_all: Serve) -> str:
    """One server for all who do not end it."""
    return serve_all(APP, "gunicorn-gevent")


def get(url: str) -> str:
    """What the server says, or its status if that is no 200."""
    answer = requests.get(url, timeout=GIVE_UP)
    return answer.text if answer.status_code == 200 else str(answer.status_code)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("turns", "True"),
        ("threads", "[True, True]"),
        ("group", "[True, 'slept']"),
        ("async", "True"),
        ("plain-code-on-the-loop", "True"),
    ],
)
def test_pitfall_8_who_waits_lets_other_requests_go_on(url: str, path: str, answer: str) -> None:
    """Five requests wait for something that only a sixth one brings about."""
    assert get(f"{url}/part") == "parted"
    with ThreadPoolExecutor(5) as clients:
        answers = [clients.submit(get, f"{url}/{path}") for _ in range(5)]
        assert get(f"{url}/async/none") == "404"  # while they wait
        assert get(f"{url}/meet") == "met"
        assert [each.result(GIVE_UP) for each in answers] == [answer] * 5


def test_pitfall_8_a_plain_view_sees_no_loop(url: str) -> None:
    """Though an asynchronous one waits on it meanwhile, in the same thread for asyncio."""
    assert get(f"{url}/part") == "parted"
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(get, f"{url}/async")
        assert [get(f"{url}/no-loop") for _ in range(5)] == ["a loop of its own"] * 5
        assert get(f"{url}/meet") == "met"
        assert waiting.result(GIVE_UP) == "True"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("processes", "3"),
        ("late", "504"),
        ("late-process", "504"),
        ("task-that-blocks", "refused"),
        ("stream", ':\n\ndata: {"number": 1}\n\ndata: {"number": 2}\n\n'),
    ],
)
def test_the_rest_is_as_on_threads(url: str, path: str, answer: str) -> None:
    """Processes, deadlines, streams."""
    assert get(f"{url}/{path}") == answer


def test_a_limit_counts(url: str) -> None:
    """For all workers, in the store of the host."""
    assert [get(f"{url}/limited") for _ in range(3)] == ["ok", "429", "429"]


def test_background_work_is_finished_before_a_worker_ends(serve: Serve, tmp_path: Path) -> None:
    """On threads that are greenlets, on the loop, and in processes."""
    done = tmp_path / "done"
    done.mkdir()
    url = serve(APP, "gunicorn-gevent")

    assert get(f"{url}/processes") == "3"  # a worker that is warm
    assert get(f"{url}/spawn-and-end{done}") == "ending"

    give_up_at = time.monotonic() + GIVE_UP
    while time.monotonic() < give_up_at and len(list(done.iterdir())) < 3:
        time.sleep(0.05)  # a foreign process cannot notify us of its end
    assert {path.name for path in done.iterdir()} == {"loop", "process", "thread"}
