"""What a refused client gets: status, body, header fields."""

from __future__ import annotations

import pickle
from typing import Any

import http_sf
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_concurrency import Concurrency, InFlight, QuotaExceeded, Refusal, ServerBusy
from flask_concurrency.flask_app.http.rate_limit_fields import (
    FLOAT_DUST,
    check_name,
    rate_limit_fields,
)
from flask_concurrency.flask_app.http.responses import retry_after, soon
from flask_concurrency.stores.memory import MemoryStore
from flask_concurrency.testing import ManualClock, fresh_counts
from flask_concurrency.vocabulary.clock import wall
from flask_concurrency.vocabulary.decision import Decision, Verdict
from flask_concurrency.vocabulary.errors import StoreError, StoreUnavailable

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    concurrency = Concurrency(app)
    closed = concurrency.limit("0/day", name="<sms>")
    full = concurrency.limit(InFlight(0), name="reports")
    once = concurrency.limit("1/minute; 100/day")
    app.get("/closed", endpoint="closed")(closed(lambda: ""))
    app.get("/full", endpoint="full")(full(lambda: ""))
    app.get("/once", endpoint="once")(once(lambda: ""))
    return app


def test_a_quota_exceeded_is_a_429_problem(app: Flask) -> None:
    """RFC 9457, with the type and member of the IETF draft, and never stored."""
    client = app.test_client()
    client.get("/once")
    response = client.get("/once")
    assert response.status_code == 429
    assert response.mimetype == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    problem: Any = response.json
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert problem["status"] == 429
    assert problem["violated-policies"] == ["route:1/minute"]
    assert problem["detail"].endswith(f"Try again in {response.headers['Retry-After']} s.")


def test_a_busy_server_is_a_503_problem(app: Flask) -> None:
    """It is the server's state and not the client's doing."""
    response = app.test_client().get("/full")
    assert response.status_code == 503
    problem: Any = response.json
    assert problem["type"].endswith("#temporary-reduced-capacity")
    assert problem["violated-policies"] == ["reports:0 in flight"]
    assert int(response.headers["Retry-After"]) in range(1, 4)


def test_a_client_with_too_much_at_once_is_told_so() -> None:
    """A limit on what each client has in flight refuses that client: 429, and soon again."""
    concurrency = Concurrency()
    app = Flask("per client")
    concurrency.init_app(app)
    app.get("/")(concurrency.limit(InFlight(0), key=lambda: "client")(lambda: ""))
    response = app.test_client().get("/")
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) in range(1, 4)
    assert response.json["type"].endswith("#quota-exceeded")  # type: ignore[index]
    assert response.json["detail"].endswith("Try again shortly.")  # type: ignore[index]


def test_waits_are_whole_seconds_without_float_dust() -> None:
    """An hour is 3600 s, and not 3601 because of the last binary digit."""
    concurrency = Concurrency()
    app = Flask("dust")
    concurrency.init_app(app)
    app.get("/")(concurrency.limit("5/hour")(lambda: ""))
    fields = [app.test_client().get("/").headers["RateLimit"] for _ in range(6)]
    assert [field.rpartition("t=")[2] for field in fields[4:]] == ["3600", "3600"]


@pytest.mark.parametrize(
    ("limit", "promised"),
    [("2/minute", 120), ("3/minute", 180), ("5/minute", 300), ("10/minute", 600)],
)
def test_a_client_that_obeys_retry_after_gets_its_quota(limit: str, promised: int) -> None:
    """For an hour, by the header field's whole seconds; and never is it told to wait longer."""
    clock = ManualClock()
    with fresh_counts(clock):
        app = Flask("obeyed")
        # A named limit is asked each time: the door's refusals count by the real clock.
        app.get("/")(Concurrency(app).limit(limit, name="obeyed")(lambda: ""))
        client, started_at, admitted = app.test_client(), clock.now, 0
        while clock.now < started_at + 3_600.0:
            answer = client.get("/")
            if answer.status_code == 200:
                admitted += 1
                continue
            assert int(answer.headers["Retry-After"]) <= 60
            clock.advance(float(answer.headers["Retry-After"]))
    assert admitted == promised


def test_a_browser_gets_a_page(app: Flask) -> None:
    """A client that prefers HTML is answered in HTML, with names escaped."""
    response = app.test_client().get("/closed", headers={"Accept": BROWSER})
    assert (response.status_code, response.mimetype) == (429, "text/html")
    assert "&lt;sms&gt;:0/day" in response.text
    assert "Accept" in response.vary


def test_a_door_that_never_opens_names_no_time(app: Flask) -> None:
    """A quota of zero is no matter of waiting."""
    assert "Retry-After" not in app.test_client().get("/closed").headers


def test_retry_after_is_for_refusals_only(app: Flask) -> None:
    """A client that was admitted is not asked to wait."""
    response = app.test_client().get("/once")
    assert response.status_code == 200
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize("kind", [QuotaExceeded, ServerBusy])
def test_a_refusal_comes_back_from_a_worker_process(kind: type[Refusal]) -> None:
    """A block in a task refuses as it does in a view."""
    verdict = Verdict("sms:3/day", 3, 86_400.0, False, 0, 7.0, 7.0)
    sent = kind(Decision(False, (verdict,)), "Limit reached.")
    come = pickle.loads(pickle.dumps(sent))
    assert (type(come), come.decision, come.description) == (kind, sent.decision, "Limit reached.")
    assert come.get_body({"HTTP_ACCEPT": ""}) == sent.get_body({"HTTP_ACCEPT": ""})


def test_fields_can_be_turned_off() -> None:
    """``CONCURRENCY_HEADERS = False`` leaves only ``Retry-After``, which a 429 needs."""
    app = Flask(__name__)
    app.config["CONCURRENCY_HEADERS"] = False
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("1/day")(lambda: ""))
    client = app.test_client()
    client.get("/")
    response = client.get("/")
    assert "RateLimit" not in response.headers
    assert "RateLimit-Policy" not in response.headers
    assert "Retry-After" in response.headers


def test_the_fields_of_old_are_sent_on_request() -> None:
    """They show the tightest rate, and an instant instead of a wait."""
    app = Flask(__name__)
    app.config["CONCURRENCY_HEADERS"] = "legacy"
    concurrency = Concurrency(app)
    app.get("/")(concurrency.limit("100/day; 2/minute; 1 in flight")(lambda: ""))
    app.get("/free", endpoint="free")(concurrency.limit("1 in flight")(lambda: ""))
    client = app.test_client()
    before = wall()
    answers = [client.get("/").headers for _ in range(3)]
    assert [answer["X-RateLimit-Limit"] for answer in answers] == ["2"] * 3
    assert [answer["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert before < int(answers[2]["X-RateLimit-Reset"]) <= before + 2 * 60 + 5
    assert "RateLimit" in answers[0]
    assert "X-RateLimit-Limit" not in client.get("/free").headers


@pytest.mark.parametrize("error", [StoreError("no"), StoreUnavailable("out")])
def test_what_cannot_be_counted_is_a_busy_server(
    error: StoreError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is our outage and not the client's quota, and the reason stays with us."""
    app = Flask(__name__)
    concurrency = Concurrency(app, store="memory://")
    app.get("/")(concurrency.limit("5/minute")(lambda: ""))

    @app.get("/block")
    def block() -> str:
        with concurrency.limit("5/minute", name="block"):
            return ""

    def fail(store: MemoryStore, *asked: object) -> None:
        raise error

    monkeypatch.setattr(MemoryStore, "take", fail)
    monkeypatch.setattr(MemoryStore, "take_for", fail)
    for path in ("/", "/block"):
        response = app.test_client().get(path)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) in range(1, 4)
        assert response.json["detail"] == "Limits cannot be counted at the moment."  # type: ignore[index]


def test_retry_after_never_points_before_the_field(app: Flask) -> None:
    """The draft says so, because clients obey ``Retry-After`` first."""
    client = app.test_client()
    client.get("/once")
    response = client.get("/once")
    fields = dict(parsed(response.headers["RateLimit"]))
    assert int(response.headers["Retry-After"]) >= fields["route:1/minute"]["t"]


def test_who_finds_a_busy_server_is_spread() -> None:
    """Where the wait is a guess, not all who were refused in one rush come back in the same one."""
    busy = Decision(False, (Verdict("8 in flight", 8, None, False, 0, None, None),))
    assert [retry_after(busy, lambda wait=wait: wait) for wait in (1, 3, 2)] == [1, 3, 2]  # type: ignore[misc]
    assert soon(lambda least, most: least) == 1
    assert soon(lambda least, most: most) == 3


def test_what_is_known_exactly_is_told_exactly() -> None:
    """A quota's instant is exact, also where a permit is taken, too."""

    def never() -> int:
        raise AssertionError("nothing is to be guessed")

    rate = Verdict("5/minute", 5, 60.0, False, 0, 11.25, 11.25)
    busy = Verdict("8 in flight", 8, None, False, 0, None, None)
    closed = Verdict("0/minute", 0, 60.0, False, 0, None, None)
    assert retry_after(Decision(False, (rate, busy)), never) == 12
    assert retry_after(Decision(False, (closed, busy)), never) is None
    assert retry_after(Decision(False, (closed, rate)), never) is None


def parsed(field: str) -> Any:
    """A list of ``(name, parameters)``, as a strict parser reads it."""
    return http_sf.parse(field.encode(), tltype="list")


names = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64)
seconds = st.none() | st.floats(0, 1e9)
verdicts = st.lists(
    st.builds(
        Verdict,
        name=names.map(check_name),
        quota=st.integers(0, 10**9),
        period=st.none() | st.integers(1, 10**9).map(float),
        admitted=st.booleans(),
        remaining=st.integers(0, 10**9),
        retry_after=seconds,
        reset_after=seconds,
        shadow=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.slow
@given(verdicts)
def test_a_strict_parser_reads_the_fields(told: list[Verdict]) -> None:
    """Any name and any number make a valid RFC 9651 list, with what was meant and no shadow."""
    fields = dict(rate_limit_fields(told))
    told = [verdict for verdict in told if not verdict.shadow]
    assert bool(fields) == bool(told)
    policy = parsed(fields["RateLimit-Policy"]) if told else []
    limit = parsed(fields["RateLimit"]) if told else []
    for verdict, (name, parameters) in zip(told, policy, strict=True):
        assert (name, parameters["q"]) == (verdict.name, verdict.quota)
        if verdict.period is None:
            assert parameters["qu"] == "concurrent-requests"
        else:
            assert parameters["w"] == verdict.period
    for verdict, (name, parameters) in zip(told, limit, strict=True):
        assert (name, parameters["r"]) == (verdict.name, verdict.remaining)
        assert ("t" in parameters) == (verdict.reset_after is not None)


@pytest.mark.slow
@given(verdicts)
def test_retry_after_is_whole_and_late_enough(told: list[Verdict]) -> None:
    """Rounded up, at least a second, and not before the last rate admits."""
    told = [verdict._replace(admitted=False, shadow=False) for verdict in told]
    after = retry_after(Decision(False, tuple(told)))
    waits = [verdict.retry_after for verdict in told if verdict.retry_after is not None]
    if after is not None and any(verdict.period is not None for verdict in told):
        assert after >= max(1, *waits) - 2 * FLOAT_DUST
