"""Each customer of the example API gets what their plan says, and no trick brings more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient

ADA, BRIAN, BRIAN_TOO = "ada-5f2e91", "brian-0d44aa", "brian-77c0b3"


@pytest.fixture
def app(load_example: Callable[[str], Flask]) -> Flask:
    """The example, freshly loaded."""
    return load_example("api_keys/app")


def asking_with(app: Flask, api_key: str, *, address: str = "192.0.2.7") -> FlaskClient:
    """A client that sends an API key, or none where it is empty."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = address
    if api_key:
        client.environ_base["HTTP_X_API_KEY"] = api_key
    return client


def served(client: FlaskClient, times: int) -> int:
    """How many of so many requests in a row are answered."""
    return sum(client.get("/factors/360").status_code == 200 for _ in range(times))


def test_the_factors_of_a_number(app: Flask) -> None:
    """What the customers pay for is right."""
    client = asking_with(app, ADA)

    for number in (2, 360, 97, 10**9, 999_999_937):
        found = client.get(f"/factors/{number}").get_json()["factors"]
        product = 1
        for factor in found:
            product *= factor
        assert product == number
    assert client.get("/factors/999999937").get_json() == {"factors": [999_999_937]}
    assert client.get("/factors/1").status_code == 400
    assert client.get("/factors/1000000001").status_code == 400


@pytest.mark.parametrize(("api_key", "quota"), [("", 5), (BRIAN, 20)])
def test_a_plan_is_what_its_customers_get(app: Flask, api_key: str, quota: int) -> None:
    """The trial without a key, and the minute of the free plan."""
    assert served(asking_with(app, api_key), quota + 1) == quota


def test_who_pays_may_come_in_bursts(app: Flask) -> None:
    """Fifty at once, though the plan is ten a second."""
    assert served(asking_with(app, ADA), 50) == 50


def test_a_customer_has_one_quota_for_all_their_keys(app: Flask) -> None:
    """Two keys of one customer, at two addresses, spend from one plan."""
    one, other = asking_with(app, BRIAN), asking_with(app, BRIAN_TOO, address="198.51.100.1")

    assert served(one, 15) + served(other, 15) == 20


def test_invented_keys_bring_no_fresh_quota(app: Flask) -> None:
    """A client that guesses keys spends the trial plan of its address."""
    answers = [
        asking_with(app, f"guess-{number}").get("/factors/360").status_code for number in range(6)
    ]

    assert answers == [401] * 5 + [429]
    assert served(asking_with(app, ""), 1) == 0
    assert served(asking_with(app, "", address="198.51.100.1"), 1) == 1
    assert served(asking_with(app, ADA), 1) == 1


def test_the_routes_of_the_api_share_the_plan(app: Flask) -> None:
    """What ``/plan`` shows is what is left for all of them."""
    client = asking_with(app, BRIAN)
    served(client, 3)

    assert client.get("/plan").get_json() == {
        "plan": "free",
        "left": {"plan:20/minute": 16, "plan:500/day": 496, "plan:1 in flight": 0},
    }


def test_a_refusal_is_json_with_everything_a_client_needs(app: Flask) -> None:
    """Which limit it was, and when to come back, in the body and in the header."""
    client = asking_with(app, "")
    served(client, 5)

    answer = client.get("/factors/360")

    told = answer.get_json()
    assert answer.status_code == 429
    assert told["error"] == "plan_exhausted"
    assert told["plan"] == "trial"
    assert told["exceeded"] == ["plan:5/minute"]
    assert 0 < told["retry_after"] <= int(answer.headers["Retry-After"])


def test_a_free_customer_asks_one_thing_at_a_time(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second request at once is theirs to avoid, so it is 429; other customers are served."""
    inside, may_go = threading.Barrier(2), threading.Event()

    def wait(number: int) -> dict[str, object]:
        inside.wait(5)
        assert may_go.wait(5)
        return {}

    monkeypatch.setitem(app.view_functions, "api.factors", wait)

    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(served, asking_with(app, BRIAN), 1)
        inside.wait(5)
        second = asking_with(app, BRIAN).get("/plan")
        other = asking_with(app, ADA).get("/plan")
        may_go.set()

    assert second.status_code == 429
    assert second.get_json()["exceeded"] == ["plan:1 in flight"]
    assert int(second.headers["Retry-After"]) in range(1, 4)
    assert other.status_code == 200
    assert first.result() == 1
    assert asking_with(app, BRIAN).get("/plan").status_code == 200
