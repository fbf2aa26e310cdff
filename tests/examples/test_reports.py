"""Four reports are made at once, eight wait for their turn, and a stream counts to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from werkzeug.test import TestResponse

REPORT = "/orders.csv?days=2"
SOON = 10.0


@pytest.fixture
def app(load_example: Callable[[str], Flask]) -> Flask:
    """The example, freshly loaded."""
    return load_example("reports/app")


@pytest.fixture
def waiting(app: Flask) -> Iterator[Callable[[], Future[int]]]:
    """``waiting()`` sends a request that has begun to wait, and gives what will be its status."""
    rooms = app.extensions["concurrency"].rooms
    began = threading.Semaphore(0)
    enter = rooms.enter

    def noticed(*args: object) -> object:
        waiter = enter(*args)
        began.release()
        return waiter

    rooms.enter = noticed
    with ThreadPoolExecutor(8) as clients:

        def wait() -> Future[int]:
            answer = clients.submit(status, app)
            assert began.acquire(timeout=SOON)
            return answer

        yield wait


def begun(app: Flask) -> TestResponse:
    """A report that is being sent and not yet done."""
    response = app.test_client().get(REPORT, buffered=False)
    assert response.status_code == 200
    return response


def status(app: Flask) -> int:
    """Ask for a report and read all of it."""
    return app.test_client().get(REPORT).status_code


def test_a_report_has_every_order_of_the_days_asked_for(app: Flask) -> None:
    """A header, and 400 lines a day."""
    answer = app.test_client().get(REPORT)

    lines = answer.text.splitlines()
    assert answer.mimetype == "text/csv"
    assert lines[0] == "day,order,amount"
    assert len(lines) == 1 + 2 * 400
    assert lines[1].startswith("2025-01-01,0-0,")
    assert lines[-1].startswith("2025-01-02,1-399,")


@pytest.mark.parametrize("days", ["0", "-1", "3651", "1000000000000"])
def test_a_report_that_nobody_can_mean_is_not_begun(app: Flask, days: str) -> None:
    """And says what to ask for."""
    answer = app.test_client().get(f"/orders.csv?days={days}")

    assert answer.status_code == 400
    assert "from 1 to 3650" in answer.text


def test_a_report_is_sent_while_it_is_made(app: Flask) -> None:
    """The first piece comes before the second day is looked at."""
    response = begun(app)

    assert next(iter(response.iter_encoded())) == b"day,order,amount\r\n"
    response.close()


def test_who_finds_four_reports_waits_for_one_to_end(
    app: Flask, waiting: Callable[[], Future[int]]
) -> None:
    """The permit is free when the last byte is sent, not when the view returns."""
    reports = [begun(app) for _ in range(4)]
    fifth = waiting()

    assert not fifth.done()
    for _ in reports[0].iter_encoded():  # its last line lets the fifth in
        pass
    assert fifth.result(SOON) == 200


def test_a_reader_who_leaves_makes_room(app: Flask, waiting: Callable[[], Future[int]]) -> None:
    """Halfway through their report."""
    reports = [begun(app) for _ in range(4)]
    fifth = waiting()

    reports[0].close()
    assert fifth.result(SOON) == 200


def test_the_thirteenth_is_refused_at_once(app: Flask, waiting: Callable[[], Future[int]]) -> None:
    """Four inside, eight waiting: the next one gets a 503 with Retry-After; health stays well."""
    reports = [begun(app) for _ in range(4)]
    waiters = [waiting() for _ in range(8)]

    refused = app.test_client().get(REPORT)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) in range(1, 4)
    assert refused.get_json()["violated-policies"] == ["route:4 in flight"]
    assert app.test_client().get("/health").text == "ok"

    for report in reports:
        report.close()
    assert [waiter.result(SOON) for waiter in waiters] == [200] * 8
    assert status(app) == 200
