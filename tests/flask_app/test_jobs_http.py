"""Jobs over HTTP: accepted, followed, ended, and never shown to another owner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, jobs_of
from flask_concurrency.jobs.ledger import Outcome, WorkerInfo
from flask_concurrency.jobs.record import Progress
from flask_concurrency.vocabulary.errors import JobsUnavailable

DONE = Outcome("succeeded", result='{"value":{"rows":3}}')


def make(tmp_path: Path, **options: Any) -> tuple[Flask, Concurrency]:
    """An app with a job, whose owner is who the header says."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.testing = True
    app.config["CONCURRENCY_JOBS"] = {
        "owner": lambda: request.headers.get("X-User"),
        "ledger": f"sqlite:///{tmp_path / 'jobs.sqlite3'}",
        **options,
    }
    concurrency = Concurrency(app)

    @concurrency.job
    def report(year: int, **more: object) -> dict[str, int]:
        return {"rows": year}

    @app.post("/reports")
    def create() -> Any:
        return report.submit(**request.get_json()).accepted()

    return app, concurrency


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app, _ = make(tmp_path)
    yield app
    jobs(app).ledger.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def jobs(app: Flask) -> AppJobs:
    """The jobs of an app."""
    found = jobs_of(app)
    assert found is not None
    return found


def submit(client: FlaskClient, year: int = 1, **headers: str) -> TestResponse:
    """Ask for a report."""
    return client.post("/reports", json={"year": year}, headers=_fields(headers))


def get(client: FlaskClient, path: str, **headers: str) -> TestResponse:
    """Get an address."""
    return client.get(path, headers=_fields(headers))


def _fields(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def claim(app: Flask) -> str:
    """Let a worker have the next job; its id."""
    ledger = jobs(app).ledger
    if not ledger.workers():
        ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    (record,) = ledger.claim("w1", ["report"], 1)
    return record.id


def finish(app: Flask, outcome: Outcome = DONE) -> str:
    """Let a worker run the next job; its id."""
    id = claim(app)
    jobs(app).ledger.end(id, 1, outcome)
    return id


def test_a_submitted_job_is_accepted(app: Flask, client: FlaskClient) -> None:
    """202, where to ask, and when; what is behind the address is the job."""
    response = submit(client)
    assert response.status_code == 202
    assert response.headers["Location"].startswith("/jobs/")
    assert (
        response.headers["Operation-Location"] == "http://localhost" + response.headers["Location"]
    )
    assert response.headers["Retry-After"] == "2"
    assert response.headers["Cache-Control"] == "no-store"
    told = response.get_json()
    assert (told["status"], told["done"]) == ("queued", False)
    again = get(client, response.headers["Location"])
    assert again.status_code == 200
    assert again.get_json() == told
    assert told["links"]["self"] == told["links"]["cancel"] == response.headers["Location"]


def test_its_status_tells_how_far_it_is(app: Flask, client: FlaskClient) -> None:
    """Progress, attempts, and at the end the result behind an address of its own."""
    address = submit(client).headers["Location"]
    id = claim(app)
    jobs(app).ledger.report_progress(id, 1, Progress(0.4, "month 5"))
    told = get(client, address).get_json()
    assert told["status"] == "running"
    assert told["progress"] == {"fraction": 0.4, "message": "month 5"}
    assert told["attempts"][0]["number"] == 1
    assert get(client, f"{address}/result").status_code == 409
    jobs(app).ledger.end(id, 1, DONE)
    ended = get(client, address)
    assert "Retry-After" not in ended.headers
    assert ended.get_json()["done"] is True
    assert get(client, ended.get_json()["links"]["result"]).get_json() == {"rows": 3}


def test_an_unchanged_status_is_not_sent_again(app: Flask, client: FlaskClient) -> None:
    """304 to a client that has it; another version is sent."""
    response = submit(client)
    address = response.headers["Location"]
    first = get(client, address)
    tag = first.headers["ETag"]
    assert get(client, address, If_None_Match=tag).status_code == 304
    claim(app)
    assert get(client, address, If_None_Match=tag).status_code == 200


def test_what_went_wrong_is_told_without_secrets(app: Flask, client: FlaskClient) -> None:
    """The client learns the kind; what the function raised stays with the operators."""
    address = submit(client).headers["Location"]
    error = {"type": "error", "title": "KeyError", "detail": "password", "traceback": "line 1"}
    finish(app, Outcome("error", error=error))
    told = get(client, address)
    assert told.get_json()["error"]["type"] == "urn:flask-concurrency:job-error"
    assert b"password" not in told.data
    app.debug = True
    assert get(client, address).get_json()["error"]["detail"] == "password"
    assert b"line 1" not in get(client, address).data


def test_the_same_key_gets_the_same_answer(app: Flask, client: FlaskClient) -> None:
    """13: repeated, also after its end, it is the same job; with other content it is refused."""
    first = submit(client, Idempotency_Key='"k-1"')
    assert "Idempotency-Replayed" not in first.headers
    again = submit(client, Idempotency_Key="k-1")
    assert again.status_code == 202
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    finish(app)
    ended = submit(client, Idempotency_Key="k-1")
    assert (ended.status_code, ended.get_json()["status"]) == (202, "succeeded")
    other = submit(client, 2, Idempotency_Key="k-1")
    assert (other.status_code, other.mimetype) == (422, "application/problem+json")
    mine = submit(client, 2, Idempotency_Key="k-1", X_User="ann")
    assert mine.status_code == 202
    assert mine.headers["Location"] != first.headers["Location"]


@pytest.mark.parametrize("key", ["", " ", '""', "x" * 256, 'a"b', "a\\b", "é"])
def test_a_key_that_is_none_is_refused(client: FlaskClient, key: str) -> None:
    """400, and nothing is accepted."""
    response = submit(client, Idempotency_Key=key)
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")


def test_equal_keys_at_once_make_one_job(app: Flask) -> None:
    """13: sixty-four parallel requests with one key get one address."""

    def ask(_: int) -> str:
        return submit(app.test_client(), Idempotency_Key="k").headers["Location"]

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(ask, range(64)))) == 1
    assert jobs(app).ledger.counts().queued == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/{id}"),
        ("DELETE", "/jobs/{id}"),
        ("GET", "/jobs/{id}/result"),
        ("GET", "/jobs/{id}/events"),
        ("GET", "/jobs/{id}?x=1"),
    ],
)
def test_a_job_of_another_owner_is_no_job(
    app: Flask, client: FlaskClient, method: str, path: str
) -> None:
    """16: byte for byte the answer to an id that never was."""
    id = submit(client, X_User="ann").get_json()["id"]
    answers = []
    for asked in (id, "y" * 32):
        for user in ({"X-User": "ben"}, {}):
            response = client.open(path.format(id=asked), method=method, headers=user)
            answers.append((response.status_code, response.data, sorted(response.headers)))
    assert answers[0][0] == 404
    assert all(answer == answers[0] for answer in answers)
    assert get(client, f"/jobs/{id}", X_User="ann").get_json()["status"] == "queued"


def test_only_ones_own_jobs_are_listed(app: Flask, client: FlaskClient) -> None:
    """Newest first and page by page; without a user there is no list."""
    ids = [submit(client, year, X_User="ann").get_json()["id"] for year in range(3)]
    submit(client, X_User="ben")
    submit(client)
    told = get(client, "/jobs?limit=2", X_User="ann").get_json()
    assert [job["id"] for job in told["jobs"]] == ids[:0:-1]
    assert told["next"] == ids[1]
    rest = get(client, f"/jobs?limit=2&after={told['next']}", X_User="ann").get_json()
    assert [job["id"] for job in rest["jobs"]] == ids[:1]
    assert "next" not in rest
    queued = get(client, "/jobs?status=queued", X_User="ann").get_json()
    assert len(queued["jobs"]) == 3
    assert get(client, "/jobs").status_code == 404
    assert get(client, "/jobs/events").status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=", "status=lost"])
def test_a_listing_of_nothing_is_refused(client: FlaskClient, query: str) -> None:
    """400 with what is allowed."""
    response = get(client, f"/jobs?{query}", X_User="ann")
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")


def test_cancelling(app: Flask, client: FlaskClient) -> None:
    """204 once it has ended, 202 while its worker ends it, again and again."""
    address = submit(client).headers["Location"]
    assert client.delete(address).status_code == 204
    assert client.delete(address).status_code == 204
    assert get(client, address).get_json()["status"] == "canceled"
    running = submit(client).headers["Location"]
    id = claim(app)
    for _ in range(2):
        response = client.delete(running)
        assert (response.status_code, response.get_json()["canceling"]) == (202, True)
    jobs(app).ledger.end(id, 1, Outcome("canceled"))
    assert client.delete(running).status_code == 204
    assert get(client, f"{running}/result").status_code == 409


def test_another_sites_page_cannot_cancel(app: Flask, client: FlaskClient) -> None:
    """A browser says where a request comes from; an origin that CORS allows may."""
    address = submit(client).headers["Location"]
    for site in ("cross-site", "same-site"):
        refused = client.delete(address, headers={"Sec-Fetch-Site": site})
        assert refused.status_code == 403
    assert get(client, address).get_json()["status"] == "queued"
    assert client.delete(address, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204


def test_an_origin_that_cors_allows_may_cancel(tmp_path: Path) -> None:
    """The frontend of another origin, which the app names, ends its user's jobs."""
    app, concurrency = make(tmp_path)
    concurrency.cors(app, origins="https://shop.example")
    client = app.test_client()
    address = submit(client).headers["Location"]
    for origin, status in (("https://evil.example", 403), ("https://shop.example", 204)):
        fields = {"Sec-Fetch-Site": "cross-site", "Origin": origin}
        assert client.delete(address, headers=fields).status_code == status
    jobs(app).ledger.close()


def test_who_prefers_to_wait_gets_the_result(app: Flask, client: FlaskClient) -> None:
    """``Prefer: wait``: 200 with the result if it is there by then, and no address."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(submit, app.test_client(), Prefer="respond-async, wait=5")
        while not jobs(app).ledger.counts().queued:
            pass
        finish(app)
        response = asked.result(10)
    assert (response.status_code, response.get_json()) == (200, {"rows": 3})
    assert "Location" not in response.headers


def test_who_waits_in_vain_is_accepted(tmp_path: Path) -> None:
    """The wait is bounded by ``max_wait``, and ends with the usual answer."""
    app, _ = make(tmp_path, max_wait=0.05)
    client = app.test_client()
    response = submit(client, Prefer="wait=9999")
    assert response.status_code == 202
    assert get(client, response.headers["Location"], Prefer="wait=9999").status_code == 200
    jobs(app).ledger.close()


def test_long_polling_ends_with_a_change(app: Flask, client: FlaskClient) -> None:
    """With the version it knows a client is answered at the next one."""
    address = submit(client).headers["Location"]
    tag = get(client, address).headers["ETag"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, app.test_client(), address, Prefer="wait=9", If_None_Match=tag)
        claim(app)
        response = asked.result(10)
    assert response.get_json()["status"] == "running"


def test_an_async_view_submits_off_its_loop(tmp_path: Path) -> None:
    """In a thread the job has the owner and the key of the request, and the wait is bounded."""
    app, concurrency = make(tmp_path, max_wait=0.05)
    report = concurrency.jobs.declared["report"]

    @app.post("/async")
    async def create_async() -> Any:
        job = await concurrency.threads.run(report.submit, 1)
        return job.accepted()

    fields = {"Prefer": "wait=60", "X-User": "ann", "Idempotency-Key": "k"}
    client = app.test_client()
    answers = [client.post("/async", headers=fields) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert get(client, answers[0].headers["Location"]).status_code == 404
    assert get(client, answers[0].headers["Location"], X_User="ann").status_code == 200
    concurrency.threads.shutdown()
    concurrency.loop.shutdown()
    jobs(app).ledger.close()


def test_with_few_threads_nobody_waits(tmp_path: Path) -> None:
    """A server of two threads would stand still with two clients that wait."""
    app, _ = make(tmp_path, max_wait=60)
    client = app.test_client()
    object.__setattr__(app.extensions["concurrency"].settings, "server_threads", 2)
    assert submit(client, Prefer="wait=60").status_code == 202
    jobs(app).ledger.close()


def test_events_of_a_job_end_with_it(app: Flask, client: FlaskClient) -> None:
    """Snapshots with versions: states, progress, and the end, after which the stream is over."""
    response = submit(client)
    address = response.headers["Location"]
    stream = client.get(f"{address}/events")
    assert stream.mimetype == "text/event-stream"
    parts = _parts(stream)
    first = _event(next(parts))
    assert (first["event"], first["data"]["status"]) == ("status", "queued")
    id = claim(app)
    assert _event(next(parts))["data"]["status"] == "running"
    jobs(app).ledger.report_progress(id, 1, Progress(0.5, "half"))
    half = _event(next(parts))
    assert (half["event"], half["data"]["progress"]["fraction"]) == ("progress", 0.5)
    jobs(app).ledger.end(id, 1, DONE)
    last = _event(next(parts))
    assert (last["data"]["status"], last["data"]["links"]["result"]) == (
        "succeeded",
        f"{address}/result",
    )
    assert list(parts) == []
    stream.close()
    again = client.get(f"{address}/events", headers={"Last-Event-ID": last["id"]})
    assert list(_parts(again)) == []
    again.close()


def test_events_of_all_jobs_of_a_user(app: Flask, client: FlaskClient) -> None:
    """One stream reports what runs and what is submitted later, and no other user's jobs."""
    ended = submit(client, 1, X_User="ann").get_json()["id"]
    finish(app)
    first = submit(client, 2, X_User="ann").get_json()["id"]
    stream = client.get("/jobs/events", headers={"X-User": "ann"})
    parts = _parts(stream)
    assert _event(next(parts))["data"]["id"] == first != ended
    submit(client, 3, X_User="ben")
    second = submit(client, 4, X_User="ann").get_json()["id"]
    assert _event(next(parts))["data"]["id"] == second
    stream.close()


def _parts(stream: TestResponse) -> Iterator[bytes]:
    """The events of a stream, without its signs of life."""
    return (part for part in stream.iter_encoded() if part.strip(b":\n"))


def _event(part: bytes) -> dict[str, Any]:
    lines = dict(line.split(": ", 1) for line in part.decode().strip().splitlines())
    return {**lines, "data": json.loads(lines["data"])}


def test_a_full_queue_is_refused(tmp_path: Path) -> None:
    """503 where all have queued too much, 429 where one has; each with when to come back."""
    app, _ = make(tmp_path, max_queued=3, max_queued_per_owner=1)
    client = app.test_client()
    assert submit(client, X_User="ann").status_code == 202
    own = submit(client, X_User="ann")
    assert (own.status_code, own.mimetype) == (429, "application/problem+json")
    assert 1 <= int(own.headers["Retry-After"]) <= 3
    submit(client)
    submit(client)
    all_full = submit(client, X_User="ben")
    assert (all_full.status_code, all_full.mimetype) == (503, "application/problem+json")
    assert 1 <= int(all_full.headers["Retry-After"]) <= 3
    jobs(app).ledger.close()


def test_the_apps_own_handler_answers_a_full_queue(tmp_path: Path) -> None:
    """What the app does with a 429 of a limit it does with this one."""
    app, _ = make(tmp_path, max_queued_per_owner=0)

    @app.errorhandler(429)
    def busy(error: object) -> tuple[str, int]:
        return "our page", 429

    assert submit(app.test_client(), X_User="ann").get_data(as_text=True) == "our page"
    jobs(app).ledger.close()


def test_what_cannot_be_kept_is_not_accepted(
    app: Flask,
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """9, 10: 503 with when to come back, to a submit and to a question; never 202, never 500.

    Why is for the operator alone: in the log, and not once for each request.
    """
    address = submit(client).headers["Location"]

    def fail(*_: object) -> None:
        raise JobsUnavailable("the disk is full")

    ledger = jobs(app).ledger
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "insert", fail)
        patch.setattr(ledger, "get", fail)
        for response in (submit(client), get(client, address)):
            assert (response.status_code, response.mimetype) == (503, "application/problem+json")
            assert "Retry-After" in response.headers
            assert b"disk" not in response.data
    told = [(r.levelname, r.message) for r in caplog.records if "the disk is full" in r.message]
    assert told == [("ERROR", "Jobs are answered with 503: the disk is full")]
    assert get(client, address).status_code == 200


def test_too_much_is_refused(tmp_path: Path) -> None:
    """413: more than a job may be given."""
    app, _ = make(tmp_path, max_arguments=100)
    response = app.test_client().post("/reports", json={"year": 1, "more": "x" * 100})
    assert (response.status_code, response.mimetype) == (413, "application/problem+json")
    jobs(app).ledger.close()


def test_a_result_that_is_a_file_is_downloaded(app: Flask, client: FlaskClient) -> None:
    """Under the name it was given; 410 once it is gone."""
    address = submit(client).headers["Location"]
    files = jobs(app).ledger.files
    assert files is not None
    files.mkdir()
    (files / "kept.1").write_text("a,b\n")
    file = {"stored": "kept.1", "name": "report.csv", "mimetype": None, "size": 4}
    finish(app, Outcome("succeeded", result=json.dumps({"file": file})))
    response = get(client, f"{address}/result")
    assert response.get_data(as_text=True) == "a,b\n"
    assert response.mimetype == "text/csv"
    assert "filename=report.csv" in response.headers["Content-Disposition"]
    response.close()
    (files / "kept.1").unlink()
    assert get(client, f"{address}/result").status_code == 410


def test_without_a_prefix_there_are_no_routes(tmp_path: Path) -> None:
    """A job is accepted all the same, and its document has no addresses."""
    app, _ = make(tmp_path, url_prefix=None)
    client = app.test_client()
    response = submit(client)
    assert (response.status_code, response.get_json()["links"]) == (202, {})
    assert "Location" not in response.headers
    assert client.get(f"/jobs/{response.get_json()['id']}").status_code == 404
    jobs(app).ledger.close()


def test_limits_count_jobs_as_any_route(tmp_path: Path) -> None:
    """A limit on the view that submits refuses before anything is kept."""
    app, concurrency = make(tmp_path)
    app.view_functions["create"] = concurrency.limit("1/day")(app.view_functions["create"])
    client = app.test_client()
    assert [submit(client).status_code for _ in range(2)] == [202, 429]
    assert jobs(app).ledger.counts().queued == 1
    jobs(app).ledger.close()
