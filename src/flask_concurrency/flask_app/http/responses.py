"""Turn a refusal into HTTP. The only file that knows status codes.

429 when the client's own limit refuses, 503 when the server is full.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from html import escape
from random import randint
from typing import Any

from flask import request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import (
    BadRequest,
    GatewayTimeout,
    HTTPException,
    ServiceUnavailable,
    TooManyRequests,
)
from werkzeug.http import parse_accept_header

from flask_concurrency.flask_app.http.rate_limit_fields import whole_seconds
from flask_concurrency.flask_app.http.request_age import request_age
from flask_concurrency.vocabulary.clock import wall
from flask_concurrency.vocabulary.decision import Decision

PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
MAX_ACCEPT = 512
"""Characters of ``Accept`` that are read."""

SOON = (1, 3)
"""Seconds a client is asked to wait at least, and at most, where the wait is not known."""

REFUSED_UNASKED = Decision(False, ())
"""The decision on a request that is refused without a limit having been asked."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{status} {title}</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 34rem }}
  body {{ margin: 18vh auto; padding: 0 1rem }}
</style>
<h1>{title}</h1>
<p>{detail}</p>
</html>
"""


class Problem(HTTPException):
    """An answer in problem details (RFC 9457), or in a small page for people.

    :cvar title: What is wrong, the same for every request.
    :cvar problem: URI of the kind of problem.
    """

    title: str
    problem: str = "about:blank"

    def get_body(self, environ: Any = None, scope: object = None) -> str:
        """Problem details (RFC 9457), or a small page for a client that prefers HTML."""
        return self._page() if prefers_html(environ) else json.dumps(self.details())

    def get_headers(self, environ: Any = None, scope: object = None) -> list[tuple[str, str]]:
        """The body's type, and that it must not be stored (RFC 6585)."""
        html = prefers_html(environ)
        mimetype = "text/html; charset=utf-8" if html else "application/problem+json"
        return [("Content-Type", mimetype), ("Cache-Control", "no-store"), ("Vary", "Accept")]

    def details(self) -> dict[str, object]:
        """The members of the problem's JSON object."""
        return {
            "type": self.problem,
            "title": self.title,
            "status": self.code,
            "detail": self.description,
        }

    def _page(self) -> str:
        return PAGE.format(
            status=self.code, title=escape(self.title), detail=escape(self.description or "")
        )


class Refusal(Problem):
    """A refused request; handle 429 or 503, or one of the classes, to answer yourself.

    :ivar decision: Every policy's verdict.
    """

    def __init__(self, decision: Decision, detail: str) -> None:
        super().__init__(description=detail)
        self.decision = decision

    def __reduce__(self) -> tuple[Any, ...]:
        # Werkzeug's exceptions forget what they were made of, which pickle asks for: a refusal may
        # come from a task in a worker process.
        return type(self), (self.decision, self.description or ""), self.__dict__

    def details(self) -> dict[str, object]:
        """The members of the problem's JSON object, with the limits in the way."""
        names = [verdict.name for verdict in self.decision.refusing]
        return {**super().details(), "violated-policies": names}


class QuotaExceeded(Refusal, TooManyRequests):
    """The client came more often, or with more at once, than its limit allows: 429."""

    title = "Too many requests"
    problem = PROBLEM_TYPES + "quota-exceeded"


class ServerBusy(Refusal, ServiceUnavailable):
    """As many requests are in flight as may be: 503."""

    title = "Server busy"
    problem = PROBLEM_TYPES + "temporary-reduced-capacity"


class DeadlinePassed(Problem, GatewayTimeout):
    """The request's deadline passed before it was answered: 504. Its cause is the error itself."""

    title = "Out of time"
    description = "The answer took longer than it may."


class BadCost(Problem, BadRequest):
    """The client sent what no cost can be read from: 400. Its cause says what."""

    title = "Bad request"
    description = "What the request costs cannot be read from it."


def prefers_html(environ: dict[str, Any] | None) -> bool:
    """Whether a client likes a page better than problem details; no preference is none."""
    accept: str = (environ or request.environ).get("HTTP_ACCEPT", "")
    if len(accept) > MAX_ACCEPT:
        # A refused client must not keep the server busy with a list of any length.
        accept = accept[:MAX_ACCEPT].rpartition(",")[0]
    return "html" in accept and _best_is_html(accept)


@lru_cache(maxsize=256)
def _best_is_html(accept: str) -> bool:
    offered = ["application/problem+json", "application/json", "text/html"]
    return parse_accept_header(accept, MIMEAccept).best_match(offered) == "text/html"


def refusal(decision: Decision) -> Refusal:
    """The exception to raise for a decision that does not admit."""
    names = ", ".join(verdict.name for verdict in decision.refusing)
    if not decision.quota_exceeded:
        return ServerBusy(decision, f"All permits are taken: {names}. Try again shortly.")
    again = ""
    if not _in_vain(decision):
        wait = decision.retry_after
        again = " Try again shortly." if wait is None else f" Try again in {_told(wait)} s."
    return QuotaExceeded(decision, f"Limit reached: {names}.{again}")


def too_old(environ: dict[str, Any], max_age: float | None) -> ServerBusy | None:
    """The refusal of a request that waited too long before it came; ``None`` to let it go on."""
    if max_age is None or "HTTP_X_REQUEST_START" not in environ:
        return None
    age = request_age(environ["HTTP_X_REQUEST_START"], wall())
    if age is None or age <= max_age:
        return None
    return ServerBusy(
        REFUSED_UNASKED,
        f"The request waited {age:.1f} s before it got here; {max_age:g} s are allowed.",
    )


def cannot_count() -> ServerBusy:
    """The refusal of a request that no store can count; the reason stays in the log."""
    return ServerBusy(REFUSED_UNASKED, "Limits cannot be counted at the moment.")


def soon(draw: Callable[[int, int], int] = randint) -> int:
    """Whole seconds to wait where the wait is not known, at random.

    Clients refused together would otherwise come back together, and most of them in vain.

    :param draw: Gives a whole number between two, both included.
    """
    return draw(*SOON)


def retry_after(decision: Decision, guess: Callable[[], int] = soon) -> int | None:
    """Whole seconds for ``Retry-After``; ``None`` if coming back cannot help.

    The wait of a rate is sent as it is, rounded up: a client that comes then is admitted, and
    jitter would only delay it.

    :param guess: Gives them where the wait is not known.
    """
    if _in_vain(decision):
        return None
    return guess() if decision.retry_after is None else _told(decision.retry_after)


def _told(wait: float) -> int:
    return max(1, whole_seconds(wait))


def _in_vain(decision: Decision) -> bool:
    """Whether a rate refuses that no wait helps against."""
    return any(v.period is not None and v.retry_after is None for v in decision.refusing)


def is_error(status: str) -> bool:
    """Whether a WSGI status line tells the client that it did not get what it asked for."""
    return status >= "400"
