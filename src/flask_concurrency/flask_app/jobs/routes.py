"""The routes by which clients ask for their jobs: status, result, events, listing, and the script.

Ordinary routes of a blueprint: limits, deadlines and CORS apply to them as to any. A job of
another owner is answered with the same bytes as one that never was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial, wraps
from importlib.resources import files
from typing import Any, Final, ParamSpec

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    jsonify,
    make_response,
    request,
    send_file,
)
from werkzeug.wrappers import Response as AnyResponse

from flask_concurrency.flask_app.http.job_problems import (
    CrossSite,
    InvalidJobRequest,
    JobFileGone,
    JobNotEnded,
    NoSuchJob,
    problem_for,
)
from flask_concurrency.flask_app.jobs.app_jobs import AppJobs
from flask_concurrency.flask_app.jobs.document import BLUEPRINT, Teller, document, etag
from flask_concurrency.flask_app.jobs.events import follow, follow_all
from flask_concurrency.flask_app.jobs.job import RETRY_AFTER, Job, may_wait
from flask_concurrency.flask_app.jobs.openapi import MAX_PAGE
from flask_concurrency.flask_app.jobs.preferences import wanted_wait
from flask_concurrency.jobs.ledger import Filter
from flask_concurrency.policies.job_state import STATUSES
from flask_concurrency.vocabulary.errors import JobError, JobNotFound, JobsUnavailable

P = ParamSpec("P")
Stream = Callable[[Any], Response]

SCRIPT: Final = "job-progress.js"


def add_routes(app: Flask, jobs: AppJobs, stream: Stream) -> None:
    """Register the routes of an app's jobs, and how errors of jobs are answered.

    :param stream: Makes the response of a stream of events.
    """
    app.register_error_handler(JobError, partial(_answer, app, jobs))
    if jobs.options.url_prefix is None:
        return
    routes = _Routes(jobs, stream)
    blueprint = Blueprint(BLUEPRINT, __name__, url_prefix=jobs.options.url_prefix)
    for rule, endpoint, view, method in (
        ("", "listing", routes.listing, "GET"),
        ("/events", "all_events", routes.all_events, "GET"),
        (f"/{SCRIPT}", "script", routes.script, "GET"),
        ("/<id>", "status", routes.status, "GET"),
        ("/<id>", "cancel", routes.cancel, "DELETE"),
        ("/<id>/result", "result", routes.result, "GET"),
        ("/<id>/events", "events", routes.events, "GET"),
    ):
        blueprint.add_url_rule(rule, endpoint, _private(view), methods=[method])
    app.register_blueprint(blueprint)


class _Routes:
    """The views; each answers for the owner whose request it is."""

    def __init__(self, jobs: AppJobs, stream: Stream) -> None:
        self._jobs = jobs
        self._stream = stream

    def status(self, id: str) -> AnyResponse:
        """Where a job stands; with ``Prefer: wait=N`` once that has changed."""
        job = self._mine(id)
        wait = wanted_wait()
        if wait and not job.done and may_wait():
            seen = request.if_none_match
            job.wait_here(
                min(wait, self._jobs.options.max_wait),
                until=(lambda record: etag(record) not in seen) if seen else None,
            )
        response = jsonify(document(job._record))
        response.set_etag(etag(job._record))
        if not job.done:
            response.headers["Retry-After"] = str(RETRY_AFTER)
        if wait:
            response.headers["Preference-Applied"] = f"wait={wait:g}"
        return response.make_conditional(request)

    def cancel(self, id: str) -> AnyResponse:
        """End a job: 202 while its worker ends it, 204 once it has ended, however often."""
        job = self._mine(id)
        _refuse_other_sites()
        job.cancel()
        if job.done:
            return make_response("", 204)
        return make_response(jsonify(document(job._record)), 202)

    def result(self, id: str) -> AnyResponse:
        """What a job returned."""
        job = self._mine(id)
        if job.status != "succeeded":
            raise JobNotEnded(f"The job is {job.status}.")
        kept = json.loads(job._record.result or "null")
        if "file" not in kept:
            return jsonify(kept["value"])
        file, path = kept["file"], job.result()
        try:
            return send_file(
                path or "",
                mimetype=file["mimetype"],
                download_name=file["name"],
                as_attachment=True,
                max_age=0,
            )
        except FileNotFoundError:
            raise JobFileGone from None

    def events(self, id: str) -> AnyResponse:
        """What becomes of a job, until its end."""
        record = self._mine(id)._record
        seen = request.headers.get("Last-Event-ID", "")
        return self._stream(follow(self._jobs, record, Teller.of_request(), seen))

    def all_events(self) -> AnyResponse:
        """What becomes of all jobs of the user, in one stream: a browser holds six of a site."""
        return self._stream(follow_all(self._jobs, self._user(), Teller.of_request()))

    def listing(self) -> AnyResponse:
        """The user's jobs, newest first."""
        owner, status = self._user(), request.args.get("status")
        if status is not None and status not in STATUSES:
            raise InvalidJobRequest(f"status: one of {', '.join(STATUSES)}.")
        limit = request.args.get("limit", "20")
        if not (limit.isascii() and limit.isdecimal()) or not 1 <= int(limit) <= MAX_PAGE:
            raise InvalidJobRequest(f"limit: a number from 1 to {MAX_PAGE}.")
        after = request.args.get("after")
        found = self._jobs.ledger.find(Filter(owner, status, int(limit), after))  # type: ignore[arg-type]
        told: dict[str, Any] = {"jobs": [document(record) for record in found]}
        if len(found) == int(limit):
            told["next"] = found[-1].id
        return jsonify(told)

    def script(self) -> AnyResponse:
        """The script that follows a job on a page."""
        body = (files(__package__) / SCRIPT).read_bytes()
        response = current_app.response_class(body, mimetype="text/javascript")
        response.cache_control.public = True
        response.cache_control.max_age = 3_600
        response.add_etag()
        return response.make_conditional(request)

    def _mine(self, id: str) -> Job:
        """The job of an id, if it is this user's or has no owner.

        :raises NoSuchJob: There is none, or it is another owner's: the same to the client.
        """
        record = self._jobs.ledger.get(id)
        if record is None or (record.owner and record.owner != self._jobs.owner()):
            raise NoSuchJob
        return Job(self._jobs, record)

    def _user(self) -> str:
        """The user who asks; jobs without an owner are not listed: their id is the key to them."""
        owner = self._jobs.owner()
        if not owner:
            raise NoSuchJob
        return owner


def _private(view: Callable[P, AnyResponse]) -> Callable[P, AnyResponse]:
    """Forbid caches to keep the answer, and browsers to send its address to other sites."""

    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> AnyResponse:
        response = view(*args, **kwargs)
        if response.mimetype not in ("text/event-stream", "text/javascript"):
            response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return answer


def _refuse_other_sites() -> None:
    """Refuse what another site's page makes a user's browser send, unless CORS allows it."""
    if request.headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
        return
    state = current_app.extensions["concurrency"]
    policy = state.route(current_app, request.url_rule, request.method).cors
    if policy is None:
        raise CrossSite
    allowed = policy.apply(current_app.response_class()).headers.get("Access-Control-Allow-Origin")
    if allowed is None:
        raise CrossSite


def _answer(app: Flask, jobs: AppJobs, error: JobError) -> Any:
    """Answer an error of jobs that a view did not handle, as the app answers its status."""
    if isinstance(error, JobsUnavailable):
        jobs.tell_unavailable(error)
    if isinstance(error, JobNotFound):
        return app.handle_user_exception(NoSuchJob())
    problem = problem_for(error)
    if problem is None:
        raise error
    return app.handle_user_exception(problem)
