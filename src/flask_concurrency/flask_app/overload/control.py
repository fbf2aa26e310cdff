"""Stand before an app under overload: ask its adaptive limits before Flask sees a request.

Knows WSGI environments and ASGI scopes; how old a request is, who asks and what a refusal says are
found out elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask_concurrency.admission.adaptive_limit import AdaptiveLimit, Asker
from flask_concurrency.flask_app.http.overload_responses import OverloadResponse
from flask_concurrency.flask_app.overload.asker import Askers
from flask_concurrency.policies.late_guard import Entry
from flask_concurrency.runtime.tcp_info import Arrival
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.permit import Ending, Permit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from flask_concurrency.asgi.interface import Receive
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


class Admitted(Permit):
    """A request that was admitted; to be released when it ends.

    One object and no closure, since every request has one: 1.5 µs less.

    :param held: The limits that admitted it, and what it was counted as.
    :param arrival: How it came.
    """

    __slots__ = ("_arrival", "_control", "_held")

    def __init__(
        self,
        control: OverloadControl,
        arrival: Arrival,
        held: tuple[tuple[AdaptiveLimit, Entry], ...],
    ) -> None:
        self._lock = threading.Lock()
        self.ending = None
        self._control = control
        self._arrival = arrival
        self._held = held

    def _give_back(self, ending: Ending) -> None:
        now = self._control.clock()
        for limit, entry in self._held:
            limit.release(entry, ending, now=now)
        self._control.arrivals.ended(self._arrival, now)

    def is_for(self, route: str, deadline: float | None) -> None:
        """Learn what it turned out to ask for.

        :param deadline: Seconds in which its answer is worth having, if its route says so.
        """
        for _, entry in self._held:
            entry.route = route
            if deadline is not None:
                entry.deadline = deadline

    def end_early(self) -> None:
        """Count it no more, and learn nothing of how long it takes."""
        if self.ending is None:
            self.release(Ending.ABANDONED)


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
        # Most apps have one such limit, for all methods: it is asked first, and without its rule.
        alone = len(self.rules) == 1 and not self._chooses_methods
        self._only = self.rules[0].limit if alone else None
        self.arrivals = arrivals
        self._askers = askers
        self._skips_gone = skips_gone
        self._needs_cors = needs_cors
        self._announce: Callable[[], None] | None = announce
        self.clock = clock

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
        now = self.clock()
        arrival = self.arrivals.of_environ(environ, now, self._inside)
        if self._only is not None and (admitted := self._admit_in_calm(self._only, arrival, now)):
            return admitted
        outcome = self._admit(now, arrival, method, partial(self._askers.asker, environ))
        if isinstance(outcome, Rule):
            if "HTTP_ORIGIN" in environ and self._needs_cors():
                environ[OVERLOADED] = outcome.limit
                return None
            return outcome.response
        return outcome

    def admit_asgi(
        self, scope: MutableMapping[str, Any], receive: Receive
    ) -> Admitted | OverloadResponse | AdaptiveLimit | None:
        """The same for an HTTP request of ASGI; to be called on its event loop.

        :returns: A limit where Flask must answer its refusal.
        """
        method = scope["method"]
        headers = scope["headers"]
        if method == "OPTIONS" and any(n == b"access-control-request-method" for n, _ in headers):
            return None
        now = self.clock()
        arrival = self.arrivals.of_scope(scope, receive, now, self._inside)
        if self._only is not None and (admitted := self._admit_in_calm(self._only, arrival, now)):
            return admitted
        outcome = self._admit(now, arrival, method, partial(self._askers.asker_on_asgi, scope))
        if not isinstance(outcome, Rule):
            return outcome
        if any(name == b"origin" for name, _ in headers) and self._needs_cors():
            return outcome.limit
        return outcome.response

    def _admit_in_calm(self, limit: AdaptiveLimit, arrival: Arrival, now: float) -> Admitted | None:
        """What most requests pass: nothing to announce, to find out or to refuse."""
        if self._announce is not None or arrival.gone:
            return None
        entry = limit.acquire_in_calm(arrival.age, now)
        return None if entry is None else Admitted(self, arrival, ((limit, entry),))

    def _admit(
        self,
        now: float,
        arrival: Arrival,
        method: str,
        asker: Callable[[Callable[[], object]], Asker],
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
        held: tuple[tuple[AdaptiveLimit, Entry], ...] = ()
        for rule in rules:
            limit = rule.limit
            entry = limit.acquire_in_calm(arrival.age, now)
            if entry is None:
                found = limit.try_acquire(arrival.age, partial(asker, rule.key), now=now)
                if isinstance(found, Entry):
                    entry = found
                else:
                    for earlier, counted in held:
                        earlier.release(counted, Ending.ABANDONED, now=now)
                    self.arrivals.ended(arrival, now)
                    return rule
            held += ((limit, entry),)
        return Admitted(self, arrival, held)

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
