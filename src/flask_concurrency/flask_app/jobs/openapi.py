"""Describe the routes of an app's jobs as a fragment of an OpenAPI 3.1 document.

Paths and methods are read from the app's own routes; what each answers is written down here. Knows
no job and no ledger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from flask import Flask

from flask_concurrency.flask_app.jobs.document import BLUEPRINT
from flask_concurrency.flask_app.jobs.preferences import MAX_KEY
from flask_concurrency.policies.job_state import STATUSES

MAX_PAGE: Final = 100
"""Jobs that one page of the listing holds at most."""

_VARIABLE: Final = re.compile(r"<(?:[^<>:]*:)?([^<>]+)>")

_INSTANT: Final = {"type": "string", "format": "date-time"}
_LINK: Final = {"type": "string", "format": "uri-reference"}
_TEXT: Final = {"type": "string"}


def fragment(app: Flask) -> dict[str, Any]:
    """``paths`` and ``components`` for the OpenAPI document of an app that has jobs.

    :returns: Without paths if the app serves no routes for jobs.
    """
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        blueprint, _, endpoint = rule.endpoint.rpartition(".")
        if blueprint != BLUEPRINT:
            continue
        path = paths.setdefault(_VARIABLE.sub(r"{\1}", rule.rule), {})
        variables = _VARIABLE.findall(rule.rule)
        if variables:
            path["parameters"] = [_in_path(name) for name in variables]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            path[method.lower()] = _OPERATIONS[endpoint] | {"operationId": f"{endpoint}_of_jobs"}
    return {"paths": dict(sorted(paths.items())), "components": _COMPONENTS}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _in_query(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _field(name: str, description: str, schema: Mapping[str, Any] = _TEXT) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(
    description: str,
    schema: Mapping[str, Any] | None = None,
    media_type: str = "application/json",
    headers: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    told: dict[str, Any] = {"description": description}
    if headers:
        told["headers"] = {
            name: {"description": about["description"], "schema": about["schema"]}
            for name, about in headers.items()
        }
    if schema is not None:
        told["content"] = {media_type: {"schema": schema}}
    return told


def _problem(description: str) -> dict[str, Any]:
    return _answer(description, _schema("Problem"), "application/problem+json")


def _object(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


_LATER: Final = _field("Retry-After", "Seconds after which to ask again.", {"type": "integer"})
_VERSION: Final = _field("ETag", "Changes with every change of the job.")
_NO_SUCH_JOB: Final = {"404": {"$ref": "#/components/responses/NoSuchJob"}}
_UNAVAILABLE: Final = {"503": {"$ref": "#/components/responses/JobsUnavailable"}}
_EVENTS: Final = _answer(
    "Events `status` and `progress`; the data of each is a whole Job, its id the version.",
    _TEXT,
    "text/event-stream",
)

_OPERATIONS: Final[dict[str, dict[str, Any]]] = {
    "listing": {
        "summary": "The user's jobs, newest first",
        "parameters": [
            _in_query("status", "Only those in this state.", _schema("JobStatus")),
            _in_query(
                "limit",
                "Jobs of this page.",
                {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20},
            ),
            _in_query("after", "`next` of the page before.", _TEXT),
        ],
        "responses": {
            "200": _answer("A page of jobs.", _schema("JobPage")),
            "400": _problem("A parameter is wrong."),
        }
        | _NO_SUCH_JOB
        | _UNAVAILABLE,
    },
    "status": {
        "summary": "Where a job stands",
        "parameters": [
            _field("Prefer", "`wait=N`: answer once the job has ended, after N seconds at most."),
            _field("If-None-Match", "The ETag of the status that the client has."),
        ],
        "responses": {
            "200": _answer(
                "The job.", _schema("Job"), headers={"ETag": _VERSION, "Retry-After": _LATER}
            ),
            "304": _answer("The client has it."),
        }
        | _NO_SUCH_JOB
        | _UNAVAILABLE,
    },
    "cancel": {
        "summary": "End a job",
        "responses": {
            "202": _answer("Its worker ends it.", _schema("Job")),
            "204": _answer("It has ended."),
            "403": _problem("A page of another site asked, which CORS does not allow."),
        }
        | _NO_SUCH_JOB
        | _UNAVAILABLE,
    },
    "result": {
        "summary": "What a job returned",
        "responses": {
            "200": {
                "description": "JSON, or the file that it wrote.",
                "content": {"application/json": {"schema": {}}, "*/*": {"schema": {}}},
            },
            "409": _problem("There is no result, yet or at all."),
            "410": _problem("The file is no longer kept."),
        }
        | _NO_SUCH_JOB
        | _UNAVAILABLE,
    },
    "events": {
        "summary": "What becomes of a job, until its end",
        "parameters": [_field("Last-Event-ID", "The version that the client has seen.")],
        "responses": {"200": _EVENTS} | _NO_SUCH_JOB | _UNAVAILABLE,
    },
    "all_events": {
        "summary": "What becomes of all jobs of the user",
        "responses": {"200": _EVENTS} | _NO_SUCH_JOB | _UNAVAILABLE,
    },
    "script": {
        "summary": "The script that follows a job on a page",
        "responses": {"200": _answer("The script.", _TEXT, "text/javascript")},
    },
}

_COMPONENTS: Final[dict[str, dict[str, Any]]] = {
    "schemas": {
        "Job": _object(
            {
                "id": _TEXT,
                "name": _TEXT,
                "status": _schema("JobStatus"),
                "done": {"type": "boolean"},
                "created": _INSTANT,
                "due": _INSTANT,
                "canceling": {"type": "boolean"},
                "ended": _INSTANT,
                "progress": _object(
                    {
                        "fraction": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                        "message": _TEXT,
                    }
                ),
                "attempts": {"type": "array", "items": _schema("JobAttempt")},
                "error": _object({"type": _TEXT, "title": _TEXT, "detail": _TEXT}),
                "links": _object(
                    {"self": _LINK, "events": _LINK, "cancel": _LINK, "result": _LINK},
                    ["self", "events"],
                ),
            },
            ["id", "name", "status", "done", "created", "attempts", "links"],
        ),
        "JobStatus": {"type": "string", "enum": list(STATUSES)},
        "JobAttempt": _object(
            {
                "number": {"type": "integer", "minimum": 1},
                "started": _INSTANT,
                "ended": {"type": ["string", "null"], "format": "date-time"},
                "how": {"type": ["string", "null"]},
            }
        ),
        "JobPage": _object(
            {"jobs": {"type": "array", "items": _schema("Job")}, "next": _TEXT}, ["jobs"]
        ),
        "Problem": {
            "type": "object",
            "properties": {
                "type": _TEXT,
                "title": _TEXT,
                "status": {"type": "integer"},
                "detail": _TEXT,
            },
            "required": ["title", "status"],
        },
    },
    "parameters": {
        "IdempotencyKey": _field(
            "Idempotency-Key",
            "The same for every repetition of one request: it starts one job.",
            {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        ),
    },
    "responses": {
        "JobAccepted": _answer(
            "The job is kept.",
            _schema("Job"),
            headers={
                "Location": _field("Location", "Where its status is.", _LINK),
                "Retry-After": _LATER,
            },
        ),
        "NoSuchJob": _problem("There is no such job, or no longer, or it is another user's."),
        "JobsUnavailable": _answer(
            "Jobs cannot be accepted or read at the moment.",
            _schema("Problem"),
            "application/problem+json",
            {"Retry-After": _LATER},
        ),
    },
}
