"""The OpenAPI fragment of the routes of jobs: it says what they do, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from werkzeug.test import TestResponse

from flask_concurrency import Concurrency
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs, jobs_of
from flask_concurrency.jobs.ledger import Outcome, WorkerInfo
from flask_concurrency.jobs.record import Progress

REFERENCE = "#/components/"


def make(tmp_path: Path, url_prefix: str | None = "/jobs") -> tuple[Flask, Concurrency]:
    """An app with a job, whose owner is who the header says."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.testing = True
    app.config["CONCURRENCY_JOBS"] = {
        "owner": lambda: request.headers.get("X-User"),
        "ledger": f"sqlite:///{tmp_path / 'jobs.sqlite3'}",
        "url_prefix": url_prefix,
    }
    concurrency = Concurrency(app)

    app.extensions["concurrency_of_test"] = concurrency

    @concurrency.job
    def report() -> dict[str, int]:
        return {"rows": 1}

    @app.post("/reports")
    def create() -> Any:
        return report.submit().accepted()

    return app, concurrency


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app, _ = make(tmp_path)
    yield app
    jobs(app).ledger.close()


def jobs(app: Flask) -> AppJobs:
    """The jobs of an app."""
    found = jobs_of(app)
    assert found is not None
    return found


def described(app: Flask) -> dict[str, Any]:
    """The fragment, as the app's own code gets it."""
    concurrency = app.extensions["concurrency_of_test"]
    with app.app_context():
        told: dict[str, Any] = concurrency.jobs.openapi()
    return told


def references(told: Any) -> Iterator[str]:
    """Every ``$ref`` in a document."""
    if isinstance(told, dict):
        if "$ref" in told:
            yield told["$ref"]
        for value in told.values():
            yield from references(value)
    elif isinstance(told, list):
        for value in told:
            yield from references(value)


def resolved(told: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a value refers to, or itself."""
    for key in value.get("$ref", "")[2:].split("/") if "$ref" in value else ():
        told = told[key]
    return told if "$ref" in value else value


def check(told: dict[str, Any], path: str, method: str, response: TestResponse) -> None:
    """Hold an answer to what the fragment says of it."""
    answers = told["paths"][path][method]["responses"]
    answer = resolved(told, answers[str(response.status_code)])
    for name in response.headers.keys() & answer.get("headers", {}).keys():
        assert response.headers[name]
    if not response.data:
        assert "content" not in answer
        return
    schema = answer["content"][response.mimetype]["schema"]
    Draft202012Validator({**schema, "components": told["components"]}).validate(response.get_json())


def test_every_route_of_jobs_is_described(app: Flask) -> None:
    """Each route and method of the blueprint, and none besides."""
    paths = described(app)["paths"]
    found = {(path, method) for path, item in paths.items() for method in item}
    assert found - {(path, "parameters") for path in paths} == {
        ("/jobs", "get"),
        ("/jobs/events", "get"),
        ("/jobs/job-progress.js", "get"),
        ("/jobs/{id}", "get"),
        ("/jobs/{id}", "delete"),
        ("/jobs/{id}/result", "get"),
        ("/jobs/{id}/events", "get"),
    }
    assert all(bool(item.get("parameters")) == ("{id}" in path) for path, item in paths.items())
    named = [item[m]["operationId"] for item in paths.values() for m in item if m != "parameters"]
    assert len(set(named)) == len(named) == 7


def test_every_schema_is_one_and_every_reference_leads_somewhere(app: Flask) -> None:
    """Schemas are those of JSON Schema 2020-12, as OpenAPI 3.1 asks for."""
    told = described(app)
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    found = set(references(told))
    assert f"{REFERENCE}schemas/Job" in found
    for reference in found:
        assert resolved(told, {"$ref": reference})


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("succeeded", result='{"value":{"rows":3}}'),
        Outcome("error", error={"type": "error", "title": "T", "detail": "d", "traceback": "t"}),
    ],
    ids=["succeeded", "failed"],
)
def test_what_the_routes_answer_is_what_is_described(
    app: Flask, outcome: Outcome, debug: bool
) -> None:
    """Every state of a job, its page, its result and its problems fit their schemas."""
    told, client, ledger = described(app), app.test_client(), jobs(app).ledger
    app.debug = debug
    user = {"X-User": "ann"}

    def ask(path: str, method: str = "get", **more: Any) -> None:
        response = client.open(path.format(id=id), method=method.upper(), headers=user, **more)
        check(told, path.split("?")[0], method, response)

    id = client.post("/reports", headers=user).get_json()["id"]
    ask("/jobs/{id}")
    ask("/jobs/{id}/result")
    ledger.join(WorkerInfo("w1", "here", 1, ("report",), 1, 0.0))
    ledger.claim("w1", ["report"], 1)
    ask("/jobs/{id}")
    ledger.report_progress(id, 1, Progress(None, "month 5"))
    ask("/jobs/{id}")
    ask("/jobs/{id}", "delete")
    ledger.end(id, 1, outcome)
    ask("/jobs/{id}")
    ask("/jobs/{id}", "delete")
    ask("/jobs/{id}/result")
    ask("/jobs")
    with_wrong_limit = client.get("/jobs?limit=0", headers=user)
    assert with_wrong_limit.status_code == 400
    check(told, "/jobs", "get", with_wrong_limit)
    id = "unknown"
    ask("/jobs/{id}")


def test_the_answer_to_a_submit_fits_its_component(app: Flask) -> None:
    """A view that returns ``accepted()`` may refer to it, with the fields it names."""
    told, client = described(app), app.test_client()
    response = client.post("/reports")
    accepted = told["components"]["responses"]["JobAccepted"]
    assert set(accepted["headers"]) <= set(response.headers.keys())
    schema = accepted["content"][response.mimetype]["schema"]
    Draft202012Validator({**schema, "components": told["components"]}).validate(response.json)


def test_an_app_without_routes_for_jobs_describes_none(tmp_path: Path) -> None:
    """``url_prefix=None``: components alone, for views of the app's own."""
    app, _ = make(tmp_path, url_prefix=None)
    told = described(app)
    assert told["paths"] == {}
    assert "Job" in told["components"]["schemas"]


def test_the_paths_are_where_the_app_serves_them(tmp_path: Path) -> None:
    """A prefix of the app's own is in every path."""
    app, _ = make(tmp_path, url_prefix="/api/work")
    assert "/api/work/{id}" in described(app)["paths"]


def test_a_changed_fragment_changes_no_other(app: Flask) -> None:
    """Each call gives a document of its own."""
    described(app)["components"]["schemas"].clear()
    assert described(app)["components"]["schemas"]


def test_the_script_has_the_media_type_that_is_described(app: Flask) -> None:
    """What is described is what a browser gets."""
    content = described(app)["paths"]["/jobs/job-progress.js"]["get"]["responses"]["200"]["content"]
    assert app.test_client().get("/jobs/job-progress.js").mimetype in content
