"""Admit as many requests as can be answered in time, in one process.

Knows a clock, a lock and the guards' arithmetic; knows no server, no Flask and no HTTP.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple, Protocol

from flask_concurrency.admission.answer import Answer
from flask_concurrency.admission.gate import Gate
from flask_concurrency.policies.late_guard import Entry
from flask_concurrency.policies.overload import OverloadGuards, Reason
from flask_concurrency.runtime.forks import call_in_child
from flask_concurrency.vocabulary.clock import Clock, monotonic
from flask_concurrency.vocabulary.decision import Decision, Verdict
from flask_concurrency.vocabulary.limits import Adaptive
from flask_concurrency.vocabulary.permit import Ending, Permit
from flask_concurrency.vocabulary.priority import Priority
from flask_concurrency.vocabulary.safe_logger import SafeLogger

logger = SafeLogger("flask_concurrency.overload")

LOGGED_EVERY: Final = 1.0
"""Seconds between two lines of the log on what was refused."""

STUCK: Final = 30.0
"""Seconds without an end of any request, while some hang, after which a process is stuck."""


class Asker(NamedTuple):
    """What the guards must know of a request.

    :ivar priority: How much the request matters.
    :ivar key: A hash of the client; ``None`` to count no shares.
    :ivar exempt: Whether it is admitted whatever the guards say.
    """

    priority: Priority = "normal"
    key: int | None = None
    exempt: bool = False


UNKNOWN_ASKER: Final = Asker()


@dataclass(frozen=True, slots=True)
class AdaptiveSnapshot:
    """What one adaptive limit of one process does.

    :ivar name: What refusals call it.
    :ivar deadline: Seconds in which an answer is worth having.
    :ivar in_flight: Requests inside.
    :ivar hung: Requests that hang and count no more.
    :ivar cap: How many may be in flight; ``None`` while answers are in time.
    :ivar age: Seconds that the request which came last had waited.
    :ivar standing: Whether a queue stands before the app.
    :ivar judging: Whether it is being found out if the cap helps.
    :ivar admitted: Requests admitted.
    :ivar too_old: Requests refused for their age.
    :ivar too_many: Requests refused for the cap.
    :ivar gone: Requests whose clients had left before.
    :ivar source: Where ages come from; empty where there are none.
    """

    name: str
    deadline: float
    in_flight: int
    hung: int
    cap: int | None
    age: float
    standing: bool
    judging: bool
    admitted: int
    too_old: int
    too_many: int
    gone: int
    source: str = ""


class Watcher(Protocol):
    """What is told of adaptive limits, on the thread of a request."""

    def refused(self, limit: str, *, shadow: bool) -> None:
        """It refuses a request, or would."""

    def moved(self, limit: str, before: int | None, now: int | None) -> None:
        """It has another cap; ``None`` for none."""


class AdaptiveLimit:
    """One adaptive limit as this process counts it; a forked child starts from zero.

    :param limit: What was declared.
    :param name: What refusals call it.
    :param route: The route whose limit it is; empty where there is none in particular.
    :param shadow: Whether it only counts what it would refuse.
    :param watcher: Told what becomes of it.
    :param clock: Source of the time.
    """

    def __init__(
        self,
        limit: Adaptive,
        *,
        name: str,
        route: str = "",
        shadow: bool = False,
        watcher: Watcher | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.limit = limit
        self.name = name
        self.route = route
        self.shadow = shadow
        self._watcher = watcher
        self._clock = clock
        self._reset()
        call_in_child(self, AdaptiveLimit._reset)

    def _reset(self) -> None:
        limit = self.limit
        self._lock = threading.Lock()
        self._guards = OverloadGuards(
            limit.deadline, least=limit.min, most=limit.max, salt=hash((os.getpid(), self.name))
        )
        # Those that have ended, until they are counted. The garbage collector may end a request in
        # the middle of any line, also of one that holds the lock.
        self._ended: deque[tuple[Entry, float, bool]] = deque()
        self._age = 0.0
        self.admitted = 0
        self.refused: dict[Reason, int] = {"age": 0, "cap": 0}
        self.gone = 0
        self._told_cap = inf
        self._last_end = self._clock()
        self._logged_at = -inf
        self._logged = 0
        # When the current second began, what was admitted and refused before it; and within the
        # last one.
        self._second_began, self._before = self._clock(), (0, 0)
        self._last_second = (0, 0)

    @property
    def in_flight(self) -> int:
        """Requests inside, the hung ones not among them."""
        return self._guards.late.in_flight

    @property
    def inside(self) -> int:
        """Requests inside, the hung ones among them."""
        return self._guards.late.in_flight + self._guards.late.hung

    def try_acquire(
        self,
        age: float = 0.0,
        who: Callable[[], Asker] | None = None,
        *,
        now: float | None = None,
        deadline: float | None = None,
    ) -> Entry | Reason:
        """Admit a request, or return the reason of its refusal.

        :param age: Seconds it has waited before.
        :param who: Returns who asks; called only where that makes a difference.
        :param now: The instant, if it is known.
        :param deadline: Seconds in which its answer is worth having, if not the limit's own.
        :returns: What is to be released at the end, or the reason.
        """
        if now is None:
            now = self._clock()
        guards = self._guards
        asker = UNKNOWN_ASKER if who is None or not guards.chooses(now) else who()
        with self._lock:
            if self._ended:
                self._count_ended()
            if now - self._second_began >= 1.0:
                self._end_second(now)
            self._age = age
            reason = guards.refuses(now, age, asker.priority, asker.key)
            if asker.exempt:
                reason = None
            if reason is not None:
                self.refused[reason] += 1
            before, cap = self._told_cap, guards.late.cap
            self._told_cap = cap
            if reason is None or self.shadow:
                self.admitted += 1
                answer: Entry | Reason = guards.enter(now, age, deadline)
                line = None
            else:
                answer = reason
                line = self._line(now)
        if line is not None:
            logger.warning(*line)
        if self._watcher is not None:
            if reason is not None:
                self._watcher.refused(self.name, shadow=self.shadow)
            if cap != before:
                self._watcher.moved(self.name, _whole(before), _whole(cap))
        return answer

    def acquire_in_calm(self, age: float, now: float) -> Entry | None:
        """Admit a request where all are: no queue stands, no cap holds, none was refused lately.

        One look instead of six, at 6 µs less.

        :param age: Seconds it has waited before.
        :param now: The instant.
        :returns: What is to be released at the end; ``None`` where :meth:`try_acquire` must look.
        """
        guards = self._guards
        if self._told_cap != inf or self._ended or now - self._second_began >= 1.0:
            return None
        with self._lock:
            entry = guards.enter_in_calm(now, age)
            if entry is not None:
                self._age = age
                self.admitted += 1
        return entry

    def release(
        self, entry: Entry, ending: Ending = Ending.COMPLETED, *, now: float | None = None
    ) -> None:
        """Count a request that has ended; to be called once.

        :param now: The instant, if it is known.
        """
        if now is None:
            now = self._clock()
        lock = self._lock
        if not lock.acquire(blocking=False):
            self._ended.append((entry, now, ending is not Ending.ABANDONED))
            return
        try:
            if self._ended:
                self._count_ended()
            self._guards.late.leave(entry, now, teaches=ending is not Ending.ABANDONED)
            self._last_end = now
        finally:
            lock.release()

    def client_gone(self) -> None:
        """Count a request that was not begun, because its client had left."""
        self.gone += 1

    @property
    def saturated(self) -> bool:
        """Whether more than half of what came in the last second was refused."""
        with self._lock:
            now = self._clock()
            if now - self._second_began >= 1.0:
                self._end_second(now)
            admitted, refused = self._last_second
            return refused > admitted

    @property
    def stuck(self) -> bool:
        """Whether requests hang, and nothing has ended for long."""
        return self._guards.late.hung > 0 and self._clock() - self._last_end > STUCK

    def snapshot(self, source: str = "") -> AdaptiveSnapshot:
        """What it does at this moment.

        :param source: Where ages come from.
        """
        with self._lock:
            self._count_ended()
            late = self._guards.late
            return AdaptiveSnapshot(
                name=self.name,
                deadline=self.limit.deadline,
                in_flight=late.in_flight,
                hung=late.hung,
                cap=_whole(late.cap),
                age=round(self._age, 3),
                standing=self._guards.age.standing,
                judging=late.judging,
                admitted=self.admitted,
                too_old=self.refused["age"],
                too_many=self.refused["cap"],
                gone=self.gone,
                source=source,
            )

    def _count_ended(self) -> None:
        while self._ended:
            entry, at, teaches = self._ended.popleft()
            self._guards.late.leave(entry, at, teaches=teaches)
            self._last_end = at

    def _end_second(self, now: float) -> None:
        admitted, refused = self.admitted, self.refused["age"] + self.refused["cap"]
        within = (admitted - self._before[0], refused - self._before[1])
        self._last_second = within if now - self._second_began < 2.0 else (0, 0)
        self._second_began, self._before = now, (admitted, refused)

    def _line(
        self, now: float
    ) -> tuple[str, object, object, object, object, object, object] | None:
        """One line a second, and not one a request."""
        if now - self._logged_at < LOGGED_EVERY:
            return None
        self._logged_at = now
        total = self.refused["age"] + self.refused["cap"]
        number, self._logged = total - self._logged, total
        late = self._guards.late
        cap = "no cap" if late.cap == inf else f"at most {int(late.cap)}"
        return (
            "%s: %d refused since the last line (%d for their age, %d for the cap in all); "
            "%d in flight, %s.",
            self.name,
            number,
            self.refused["age"],
            self.refused["cap"],
            late.in_flight,
            cap,
        )


def _whole(cap: float) -> int | None:
    return None if cap == inf else int(cap)


def ask_adaptive(
    limits: Iterable[AdaptiveLimit],
    age: float = 0.0,
    who: Callable[[], Asker] | None = None,
    *,
    route: str = "",
    deadline: float | None = None,
) -> Permit | AdaptiveLimit:
    """Ask limits one after the other.

    :param age: Seconds the request has waited before.
    :param who: Returns who asks.
    :param route: What the request asks for.
    :param deadline: Seconds in which its answer is worth having, if not the limits' own.
    :returns: What is to be released at the end, or the limit that refuses.
    """
    held: list[tuple[AdaptiveLimit, Entry]] = []
    for limit in limits:
        entry = limit.try_acquire(age, who, deadline=deadline)
        if not isinstance(entry, Entry):
            for earlier, given in held:
                earlier.release(given, Ending.ABANDONED)
            return limit
        entry.route = route
        held.append((limit, entry))

    def give_back(ending: Ending) -> None:
        for limit, entry in held:
            limit.release(entry, ending)

    return Permit(give_back)


def ask_adaptive_first(limits: Sequence[AdaptiveLimit], gate: Gate) -> Answer:
    """Ask adaptive limits and, where they admit, a gate; both or neither."""
    if not limits:
        return gate.acquire()
    permit = ask_adaptive(limits)
    if isinstance(permit, AdaptiveLimit):
        return Answer.of(refused_by(permit))
    try:
        answer = gate.acquire()
    except BaseException:
        permit.release(Ending.ABANDONED)
        raise
    if not answer.admitted:
        permit.release(Ending.ABANDONED)
        return answer
    return answer.with_permit(permit)


def refused_by(limit: AdaptiveLimit) -> Decision:
    """The decision that an adaptive limit refuses a request."""
    verdict = Verdict(
        name=limit.name,
        quota=limit.in_flight,
        period=None,
        admitted=False,
        remaining=0,
        retry_after=None,
        reset_after=None,
        per_client=False,
    )
    return Decision(False, (verdict,))
