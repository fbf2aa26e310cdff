"""Stand before an app under overload: ask its adaptive limits before Flask sees a request.

Knows WSGI environments and ASGI scopes; how old a request is, who asks and what a refusal says are
found out elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask_concurrency.admission.adaptive_limit import AdaptiveLimit, Asker
from flask_concurrency.asgi.environ import make_environ
from flask_concurrency.flask_app.http.overload_responses import OverloadResponse
from flask_concurrency.flask_app.overload.asker import Askers
from flask_concurrency.policies.late_guard import Entry
from flask_concurrency.runtime.tcp_info import Arrival
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.permit import Ending, Permit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from flask_concurrency.flask_app.http.arrivals import Arrivals

ADMITTED: Final = "flask_concurrency.admitted"
"""The key of the WSGI environment for how a request was admitted."""

OVERLOADED: Final = "flask_concurrency.overloaded"
"""Where in the WSGI environment stands the limit that refuses a request of another origin, whose
answer needs the CORS fields that only Flask can give it."""


class Rule(NamedTuple):
    """One adaptive limit of the whole app.

    :ivar limit: The limit.
    :ivar methods: HTTP methods it applies to; ``None`` for all.
    :ivar key: Returns who is counted.
    :ivar response: What it answers to refused clients.
    """

    limit: AdaptiveLimit
    methods: frozenset[str] | None
    key: Callable[[], object]
    response: OverloadResponse


class Admitted(NamedTuple):
    """A request that was admitted.

    :ivar permit: To be released when it ends.
    :ivar entries: What it was counted as.
    """

    permit: Permit
    entries: tuple[Entry, ...]

    def is_for(self, route: str, deadline: float | None) -> None:
        """Learn what it turned out to ask for.

        :param deadline: Seconds in which its answer is worth having, if its route says so.
        """
        for entry in self.entries:
            entry.route = route
            if deadline is not None:
                entry.deadline = deadline

    def end_early(self) -> None:
        """Count it no more, and learn nothing of how long it takes."""
        if self.permit.ending is None:
            self.permit.release(Ending.ABANDONED)


class OverloadControl:
    """The adaptive limits of one app in this process.

    :param rules: In the order in which they are asked.
    :param askers: Finds out who asks.
    :param arrivals: Finds out how old a request is.
    :param skips_gone: Whether a request is dropped whose client has closed its side.
    :param needs_cors: Whether some refusals need CORS fields.
    :param announce: Called at the first request.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        askers: Askers,
        arrivals: Arrivals,
        skips_gone: bool,
        needs_cors: Callable[[], bool],
        announce: Callable[[], None],
        clock: Clock = monotonic,
    ) -> None:
        self.rules = tuple(rules)
        self._chooses_methods = any(rule.methods is not None for rule in rules)
        self.arrivals = arrivals
        self._askers = askers
        self._skips_gone = skips_gone
        self._needs_cors = needs_cors
        self._announce: Callable[[], None] | None = announce
        self._clock = clock

    def admit_wsgi(self, environ: WSGIEnvironment) -> Admitted | OverloadResponse | None:
        """Admit a request, or return what to answer.

        :returns: ``None`` for what is not counted: WebSockets and preflights; and for a refusal
            that must be answered by Flask, which stands under :data:`OVERLOADED` then.
        """
        if "HTTP_UPGRADE" in environ and environ["HTTP_UPGRADE"].lower() == "websocket":
            return None
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            return None
        now = self._clock()
        arrival = self.arrivals.of_environ(environ, now, self._inside)
        outcome = self._admit(now, arrival, method, lambda: environ)
        if isinstance(outcome, Rule):
            if "HTTP_ORIGIN" in environ and self._needs_cors():
                environ[OVERLOADED] = outcome.limit
                return None
            return outcome.response
        return outcome

    def admit_asgi(
        self, scope: MutableMapping[str, Any]
    ) -> Admitted | OverloadResponse | AdaptiveLimit | None:
        """The same for an HTTP request of ASGI; to be called on its event loop.

        :returns: A limit where Flask must answer its refusal.
        """
        method = scope["method"]
        headers = scope["headers"]
        if method == "OPTIONS" and any(n == b"access-control-request-method" for n, _ in headers):
            return None
        now = self._clock()
        arrival = self.arrivals.of_scope(scope, now, self._inside)
        outcome = self._admit(now, arrival, method, lambda: make_environ(scope))
        if not isinstance(outcome, Rule):
            return outcome
        if any(name == b"origin" for name, _ in headers) and self._needs_cors():
            return outcome.limit
        return outcome.response

    def _admit(
        self, now: float, arrival: Arrival, method: str, environ: Callable[[], WSGIEnvironment]
    ) -> Admitted | Rule | OverloadResponse | None:
        if self._announce is not None:
            announce, self._announce = self._announce, None
            announce()
        rules = self.rules
        if self._chooses_methods:
            rules = tuple(each for each in rules if not each.methods or method in each.methods)
        if arrival.gone and self._skips_gone and rules:
            rules[0].limit.client_gone()
            self.arrivals.ended(arrival, now)
            return rules[0].response
        if len(rules) == 1:
            return self._admit_one(rules[0], now, arrival, environ)
        admitted: list[tuple[AdaptiveLimit, Entry]] = []
        for rule in rules:
            entry = self._acquire(rule, now, arrival, environ)
            if entry is None:
                for limit, earlier in admitted:
                    limit.release(earlier, Ending.ABANDONED)
                self.arrivals.ended(arrival, now)
                return rule
            admitted.append((rule.limit, entry))

        def give_back(ending: Ending) -> None:
            for limit, entry in admitted:
                limit.release(entry, ending)
            self.arrivals.ended(arrival, self._clock())

        return Admitted(Permit(give_back), tuple(entry for _, entry in admitted))

    def _admit_one(
        self, rule: Rule, now: float, arrival: Arrival, environ: Callable[[], WSGIEnvironment]
    ) -> Admitted | Rule:
        """The same for the one limit that most apps have, in half the time."""
        entry = self._acquire(rule, now, arrival, environ)
        if entry is None:
            self.arrivals.ended(arrival, now)
            return rule

        def give_back(ending: Ending) -> None:
            rule.limit.release(entry, ending)
            self.arrivals.ended(arrival, self._clock())

        return Admitted(Permit(give_back), (entry,))

    def _acquire(
        self, rule: Rule, now: float, arrival: Arrival, environ: Callable[[], WSGIEnvironment]
    ) -> Entry | None:
        def who() -> Asker:
            return self._askers.asker(environ(), rule.key)

        entry = rule.limit.try_acquire(arrival.age, who, now=now)
        return entry if isinstance(entry, Entry) else None

    def _inside(self) -> int:
        return self.rules[0].limit.inside

    @property
    def saturated(self) -> bool:
        """Whether more than half of what came in the last second was refused."""
        return any(rule.limit.saturated and not rule.limit.shadow for rule in self.rules)

    @property
    def stuck(self) -> bool:
        """Whether requests hang, and nothing has ended for long."""
        return any(rule.limit.stuck for rule in self.rules)
