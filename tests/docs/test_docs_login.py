"""What the page on logins promises, and what it warns of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

PAGE = "docs/how-to/login-throttling.md"
LOGIN, NO_STATUS, DOORS, RESET = range(4)
ADA, RIGHT = "ada@example.org", "correct horse"
SOON = 10.0
Run = Callable[..., dict[str, Any]]


def log_in(
    app: Flask,
    password: str = "wrong",
    *,
    email: str = ADA,
    address: str = "192.0.2.7",
    path: str = "/login",
) -> TestResponse:
    """One attempt."""
    form = {"email": email, "password": password}
    return app.test_client().post(path, data=form, environ_base={"REMOTE_ADDR": address})


def statuses(app: Flask, times: int, **options: str) -> list[int]:
    """So many wrong attempts in a row."""
    return [log_in(app, **options).status_code for _ in range(times)]


def test_the_sixth_failure_is_not_tried(run_block: Run) -> None:
    """And ``Retry-After`` is what the page says."""
    app = run_block(PAGE, LOGIN)["app"]

    assert statuses(app, 6) == [401] * 5 + [429]
    assert log_in(app).headers["Retry-After"] == "900"
    assert log_in(app, RIGHT).status_code == 429


def test_the_owner_elsewhere_can_still_log_in(run_block: Run) -> None:
    """The narrow limit counts the account from one address."""
    app = run_block(PAGE, LOGIN)["app"]
    statuses(app, 6)

    assert log_in(app, RIGHT, address="198.51.100.1").status_code == 200


def test_a_success_spends_nothing(run_block: Run) -> None:
    """However often; and it takes no failure back."""
    app = run_block(PAGE, LOGIN)["app"]

    assert statuses(app, 4) == [401] * 4
    assert {log_in(app, RIGHT).status_code for _ in range(60)} == {200}
    assert statuses(app, 2) == [401, 429]


def test_an_account_is_guarded_against_many_addresses(run_block: Run) -> None:
    """Fifty failures, from any address; then every login is refused, as the page warns."""
    app = run_block(PAGE, LOGIN)["app"]

    tried = [log_in(app, address=f"192.0.2.{number}").status_code for number in range(51)]

    assert tried == [401] * 50 + [429]
    assert log_in(app, RIGHT, address="198.51.100.1").status_code == 429


def test_an_address_cannot_go_through_the_accounts(run_block: Run) -> None:
    """Thirty failures, whatever accounts they are for."""
    app = run_block(PAGE, LOGIN)["app"]

    tried = [log_in(app, email=f"user{number}@example.org").status_code for number in range(31)]

    assert tried == [401] * 30 + [429]


def test_guesses_at_the_same_instant_are_not_all_tried(
    run_block: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five are inside, all others are refused before any of the five is answered."""
    names = run_block(PAGE, LOGIN)
    inside, may_go = threading.Semaphore(0), threading.Event()

    class Slow(dict[str, str]):
        def get(self, *_: Any) -> str:
            inside.release()
            assert may_go.wait(SOON)
            return RIGHT

    monkeypatch.setitem(names, "PASSWORDS", Slow())

    with ThreadPoolExecutor(5) as guessers:
        five = [guessers.submit(log_in, names["app"]) for _ in range(5)]
        for _ in five:
            assert inside.acquire(timeout=SOON)
        others = statuses(names["app"], 15)
        right = log_in(names["app"], RIGHT).status_code
        may_go.set()

    assert others == [429] * 15
    assert right == 429
    assert [guess.result().status_code for guess in five] == [401] * 5


def test_a_view_that_fails_is_not_charged(run_block: Run, caplog: pytest.LogCaptureFixture) -> None:
    """A broken database locks no user out."""
    names = run_block(PAGE, LOGIN)
    names["PASSWORDS"] = None

    assert statuses(names["app"], 8) == [500] * 8
    assert "NoneType" in caplog.text


def test_the_view_may_say_that_it_failed(run_block: Run) -> None:
    """Where the status is 200 either way."""
    app = run_block(PAGE, NO_STATUS)["app"]

    assert statuses(app, 4) == [200] * 4
    assert log_in(app, RIGHT).text == "Welcome!"
    assert statuses(app, 2) == [200, 429]


def test_all_doors_to_an_account_share_one_count(run_block: Run) -> None:
    """Guesses at one are spent at the other."""
    app = run_block(PAGE, DOORS)["app"]

    assert statuses(app, 3) == [401] * 3
    assert statuses(app, 3, path="/api/token") == [401, 401, 429]
    assert statuses(app, 1, email="brian@example.org") == [401]


def test_mails_are_limited_by_what_was_typed(run_block: Run) -> None:
    """Three a day to one address, and others are not in the way."""
    app = run_block(PAGE, RESET)["app"]

    assert statuses(app, 4, path="/forgot-password") == [200] * 3 + [429]
    assert statuses(app, 1, path="/forgot-password", email="brian@example.org") == [200]
