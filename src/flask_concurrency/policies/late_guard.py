"""Decide how many requests may be inside, from how long those that ended took.

Knows instants and routes' names; knows no clock, no thread, no server.

By Little's law as many requests are inside as end in a second, times the seconds each takes. So the
number at which a request takes half the deadline is known in one step, without a search: what ends
in a second times half the deadline. It becomes the cap only when answers are late, or are about to
be. And it is judged: if fewer inside did not make those that came after it quicker, they do not
wait for each other but for something outside, which no cap makes quicker. Then the cap goes, and
what the route took counts as natural from now on.

What a route naturally takes (its *base*) falls by itself and rises by such a verdict alone. A base
that follows what it sees learns the overload, and then finds nothing late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Final

LATE: Final = 0.8
"""Share of the deadline after which an answer counts as late. At 0.7 a dependency that became
300 ms slower had 13 % refused, of a deadline of 0.5 s; at 0.8 it is 0.1 to 0.6 %."""

GOAL: Final = 0.5
"""Share of the deadline that requests take at the cap: the other half is for the wait before the
app, and for the spread. Of a pool of 10 the 99th percentile is then 320 to 530 ms of 500."""

NATURAL_LATE: Final = 2.0
"""A route that naturally takes longer than that is late at so many times its base."""

NATURAL_GOAL: Final = 1.5
"""And its goal is so many times its base: what is slow by itself is never cut for that alone."""

WINDOW: Final = 0.1
"""Seconds between two looks, where enough has ended."""

SAMPLES: Final = 20
"""Requests whose ends show how many end in a second; with fewer the cap of a pool wavers."""

QUIET: Final = 5.0
"""Seconds after which fewer must do."""

GAP: Final = 0.1
"""Seconds without an end after which the count begins anew. A rate across the gap, as when a
dependency becomes slower, gave a cap of 6 where 79 were inside."""

AVERAGED: Final = 0.5
"""Seconds of looks over which completions are averaged, the newest look always among them."""

BURST: Final = 16
"""Requests inside that never count as growth: a burst on a small service is none."""

GROWTH: Final = 1.25
"""How far beyond the number at which answers are late the number inside must be, to call them late
before they are. The number wavers by 14 % at 50 inside."""

CUT: Final = 0.9
"""A cap below so much of those inside is an experiment, and is judged."""

DEEPEST: Final = 4
"""Those inside are cut to a quarter at most: completions counted across a gap, as when a dependency
has just become slower, give a cap that is far too low."""

GENTLE: Final = 0.85
"""To how much those inside are cut first where their number does not grow. A rising tide must be
stopped at once; a level one may be natural, and to find out should cost little. With a dependency
that becomes 600 ms slower, simulated, 5 to 8 % are refused meanwhile; with a whole cut at once it
was 24 to 25 %, measured. None is gentle while a queue stands before the process: the number inside
is level there because the others wait outside. Without that, a pool behind a loop that refusals
keep busy answered 89 and 139 of 200 a second, simulated, after a first request of 0.3 s: it took a
cut that changed little for a proof that its answers are slow by nature."""

HELD: Final = 5.0
"""Seconds after a verdict that the wait is ours for which no cut is gentle."""

LEVEL: Final = 0.6
"""By how much of what ended in a look the number inside may have grown and still be level."""

FLOOR: Final = 2
"""The lowest cap that a cut makes."""

ALL_BUT: Final = 0.9
"""Share of what ended in a look that must have begun under a cap, to call the cap too high if they
are late and others are kept out: then some wait far longer than the mean. A pool that gives its
slots to any of those that wait, as ``threading.Semaphore`` does, had 8 % late at three times its
capacity, simulated. Cut until nine of ten take half the deadline, it has 1 %."""

SLOWER: Final = 0.05
"""Share of the difference by which a base falls with each quicker request."""

JUDGED_BY: Final = 10
"""Requests that began under a cap and judge it; twice as many where the cut was gentle."""

LAST: Final = 0.2
"""Seconds before a cut in which those began whose times it is judged against. Those that had ended
by then began when fewer were inside: to compare with them called queues natural, twice."""

APART: Final = 0.95
"""How far apart the numbers inside must be before and after a cut to show anything."""

HOLD: Final = 60.0
"""Seconds for which a base that rose by a verdict does not fall."""

RETRY: Final = 0.5
"""Seconds between two rises of the cap."""

FORGOTTEN: Final = 10.0
"""Seconds after which a cap that refused no request goes."""

HUNG: Final = 2.0
"""After so many deadlines, or one and a half times as many bases, a request that later ones have
overtaken is hung and counts no more: it must not keep out requests that would end."""

MAX_ROUTES: Final = 256
"""Routes whose bases are kept; the one that came first is forgotten first."""


class Entry:
    """One request that is inside.

    :param began_at: When it came in.
    :param age: Seconds it had waited before.
    :param deadline: Seconds in which its answer is worth having.
    :param inside: How many were inside then, itself among them.
    :ivar route: What it turned out to ask for; requests of one route take about as long.
    :ivar counts: Whether it is counted as inside.
    :ivar took: Seconds it was inside, once it has ended.
    """

    __slots__ = ("age", "began_at", "counts", "deadline", "inside", "route", "took")

    def __init__(self, began_at: float, age: float, deadline: float, inside: int) -> None:
        self.began_at = began_at
        self.inside = inside
        self.age = age
        self.deadline = deadline
        self.route = ""
        self.counts = True
        self.took = 0.0


@dataclass(slots=True)
class _Verdict:
    """A cut that is being judged.

    :ivar cut_at: When.
    :ivar needed: Requests that judge.
    :ivar before: Those that began last before it: how long they took, in goals, and how many were
        inside when they began.
    :ivar settled_at: When no more were inside than the cap, for the first time.
    :ivar after: The same of those that began since then, with their routes and seconds.
    """

    cut_at: float
    needed: int
    before: list[tuple[float, int]] = field(default_factory=list)
    settled_at: float | None = None
    after: list[tuple[float, int]] = field(default_factory=list)
    took: dict[str, float] = field(default_factory=dict)


class LateGuard:
    """The requests inside one process or one route, and how many there may be.

    :param deadline: Seconds in which an answer is worth having.
    :param least: The cap is never lower.
    :param most: The cap is never higher; ``None`` for any.
    :ivar in_flight: Requests inside, the hung ones not among them.
    :ivar cap: How many may be; infinite where answers are in time.
    :ivar hung: Requests that stopped counting and have not ended.
    :ivar pressed: Whether a queue stands before the process: then no cut is gentle.
    :ivar lateness: How late the slowest tenth of the last look was; above 1 is late.
    """

    def __init__(self, deadline: float, *, least: int = 1, most: int | None = None) -> None:
        self.deadline = deadline
        self.in_flight = 0
        self.hung = 0
        self.lateness = 0.0
        self.pressed = False
        self._least = least
        self._most = inf if most is None else float(most)
        self.cap = self._most
        self.bases: dict[str, float] = {}
        self._held_until: dict[str, float] = {}
        self._inside: dict[Entry, None] = {}
        self._samples: list[Entry] = []
        self._ended_at = -inf
        self._newest_ended = -inf
        self._looked_at = 0.0
        self._peeked_at = 0.0
        self._swept_at = 0.0
        self._grew_at = 0.0
        self._full_at = -inf
        self._full = 0
        self._peak = 0
        self._in_flight_before = 0
        self._goals: deque[tuple[float, float]] = deque()
        self._late_numbers: deque[float] = deque(maxlen=5)
        self._too_many = inf
        self._ours_at = -inf
        self._verdict: _Verdict | None = None

    @property
    def uncapped(self) -> bool:
        """Whether any number may be inside."""
        return self.cap == inf

    def admits(self, now: float, share: float = 1.0, spare: int = 0) -> bool:
        """Whether one more may come in; the first always may.

        :param now: The instant.
        :param share: How much of the cap this kind of request may fill.
        :param spare: Places it may take beyond that.
        """
        cap = self.cap
        if cap == inf:
            return True
        cap = int(cap * share) + spare
        if self.in_flight < max(1, cap):
            return True
        if now - self._swept_at >= WINDOW:
            self._discount_hung(now)
            if self.in_flight < max(1, cap):
                return True
        self._full += 1
        return False

    def enter(self, now: float, age: float = 0.0, deadline: float | None = None) -> Entry:
        """Count one that comes in.

        :param age: Seconds it has waited before.
        :param deadline: Seconds in which its answer is worth having, if not the guard's own.
        """
        self.in_flight += 1
        entry = Entry(now, age, self.deadline if deadline is None else deadline, self.in_flight)
        self._inside[entry] = None
        if self.in_flight > self._peak:
            self._peak = self.in_flight
        if self.in_flight > BURST:
            waited = now - self._looked_at
            if waited >= AVERAGED:
                if now - self._peeked_at >= AVERAGED:
                    self._peek(now)
            elif (
                self.in_flight > self._too_many
                and self.cap == self._most
                and now - self._ended_at < GAP
            ):
                # It grows faster than requests end: before the next look it would be too late.
                self._cut(now, self.in_flight, level=False)
                self._full_at = now
        return entry

    def leave(self, entry: Entry, now: float, *, teaches: bool = True) -> None:
        """Count one that has ended.

        :param teaches: Whether it took as long as such a request takes; not, if it was given up.
        """
        if entry.counts:
            del self._inside[entry]
            self.in_flight -= 1
        else:
            self.hung -= 1
        entry.took = now - entry.began_at
        if not teaches and entry.took + entry.age <= LATE * entry.deadline:
            return
        samples = self._samples
        if now - self._ended_at >= GAP and now - self._looked_at < QUIET:
            # Nothing ended for so long that a rate across the gap would be that of no time at all.
            self._learn(samples, now)
            self._collect(samples)
            samples.clear()
        self._ended_at = now
        self._newest_ended = max(self._newest_ended, entry.began_at)
        if not samples:
            self._in_flight_before = self.in_flight
        samples.append(entry)
        waited = now - self._looked_at
        if (waited >= WINDOW and len(samples) >= SAMPLES) or waited >= QUIET:
            self._look(now)

    @property
    def judging(self) -> bool:
        """Whether a cut is being judged."""
        return self._verdict is not None

    def _late_after(self, route: str, deadline: float) -> float:
        return max(LATE * deadline, NATURAL_LATE * self.bases.get(route, 0.0))

    def _goal(self, route: str, deadline: float) -> float:
        return max(GOAL * deadline, NATURAL_GOAL * self.bases.get(route, 0.0))

    def _look(self, now: float) -> None:
        samples, self._samples = self._samples, []
        full, self._full = self._full, 0
        peak, self._peak = self._peak, self.in_flight
        grown = self.in_flight - self._in_flight_before
        self._looked_at = now
        number = len(samples)
        self._learn(samples, now)
        # Most requests of a look are of few routes: what depends on those is computed once.
        bounds: dict[tuple[str, float], tuple[float, float]] = {}
        ratios = []
        lates = goals = 0.0
        for each in samples:
            kind = each.route, each.deadline
            bound = bounds.get(kind)
            if bound is None:
                bound = bounds[kind] = self._late_after(*kind), self._goal(*kind)
            late, goal = bound
            ratios.append((each.took + each.age) / late)
            lates += late
            goals += goal
        ratios.sort()
        self.lateness = ratios[int(number * 0.9)]
        # From completion to completion: no time in which the app was idle, nor the first latency.
        first, last = samples[0], samples[-1]
        span = last.began_at + last.took - first.began_at - first.took
        span = max(1e-3, span) * number / max(1, number - 1)
        self._goals.append((span, goals))
        while (
            len(self._goals) > 1 and sum(s for s, _ in self._goals) - self._goals[0][0] > AVERAGED
        ):
            self._goals.popleft()
        self._late_numbers.append(lates / span)
        self._too_many = max(BURST, GROWTH * max(self._late_numbers))
        if self.in_flight > self._too_many and number >= SAMPLES:
            # The newest will be late, by Little's law, though none that ended was.
            self.lateness = max(self.lateness, self.in_flight / max(self._late_numbers))
        self._collect(samples)
        if self._verdict is not None:
            self._judge(self._verdict, now)
        elif self.lateness > 1:
            within = sum(each.inside <= self.cap for each in samples)
            # Late under a cap that keeps others out: some wait far longer than the mean.
            spread = self.lateness * LATE / GOAL if full and within >= ALL_BUT * number else 1.0
            inside = max(self.in_flight, peak)
            self._cut(now, inside, level=grown <= LEVEL * number, spread=spread)
            self._full_at = now
        elif full:
            self._full_at = now
            if self.lateness < GOAL / LATE and now - self._grew_at >= RETRY:
                rise = 0.25 if self.lateness < 0.6 * GOAL / LATE else 0.08
                self._set_cap(self.cap + max(1.0, rise * self.cap))
                self._grew_at = now
        elif now - self._full_at > FORGOTTEN:
            self.cap = self._most

    def _learn(self, samples: list[Entry], now: float) -> None:
        bases = self.bases
        for each in samples:
            base = bases.get(each.route)
            if base is None:
                if len(bases) >= MAX_ROUTES:
                    oldest = next(iter(bases))
                    del bases[oldest]
                    self._held_until.pop(oldest, None)
                bases[each.route] = each.took
            elif each.took < base and now > self._held_until.get(each.route, 0.0):
                bases[each.route] = base + SLOWER * (each.took - base)

    def _cut(self, now: float, inside: int, *, level: bool, spread: float = 1.0) -> None:
        little = sum(goals for _, goals in self._goals) / sum(span for span, _ in self._goals)
        little /= spread
        new = max(FLOOR, inside / DEEPEST, little)
        gentle = level and not self.pressed and now - self._ours_at > HELD
        gentle = gentle and new < GENTLE * inside
        if gentle:
            new = GENTLE * inside
        if new < CUT * inside:
            self._verdict = _Verdict(now, JUDGED_BY * (2 if gentle else 1))
        if new < inside or self.cap < inside:  # else it would hold nothing up
            self._set_cap(min(self.cap, new))

    def _collect(self, samples: list[Entry]) -> None:
        """Put down what the verdict that is pending needs to know."""
        verdict = self._verdict
        if verdict is None:
            return
        for each in samples:
            took = each.took / self._goal(each.route, each.deadline)
            if verdict.settled_at is not None and each.began_at >= verdict.settled_at:
                verdict.after.append((took, each.inside))
                longest = verdict.took.get(each.route, 0.0)
                verdict.took[each.route] = max(longest, each.took)
            elif verdict.cut_at - LAST <= each.began_at < verdict.cut_at:
                verdict.before.append((took, each.inside))

    def _judge(self, verdict: _Verdict, now: float) -> None:
        if verdict.settled_at is None:
            if self.in_flight <= self.cap:
                verdict.settled_at = now
            elif now - verdict.cut_at > QUIET:
                self._verdict = None  # more come in than the cap allows, as critical requests may
            return
        if len(verdict.after) < verdict.needed and now - verdict.settled_at < QUIET:
            return
        self._verdict = None
        if not verdict.after or not verdict.before:
            return
        before, many = _means(verdict.before)
        after, few = _means(verdict.after)
        if few >= APART * many:
            return
        # Had they waited for each other, they would take as much less as fewer were inside.
        if after <= before * (1 + few / many) / 2:
            self._ours_at = now
        else:
            for route, took in verdict.took.items():
                self.bases[route] = max(self.bases.get(route, 0.0), took)
                self._held_until[route] = now + HOLD
            self.cap = self._most
            self._goals.clear()  # what was late, or too many, is no more
            self._late_numbers.clear()
            self._too_many = inf

    def _peek(self, now: float) -> None:
        """Where nothing ends: the requests inside are the samples."""
        self._peeked_at = now
        self._discount_hung(now)
        slowest = max(self.bases.values(), default=self.deadline)  # not known: they may be slow
        late = max(LATE * self.deadline, NATURAL_LATE * slowest)
        old = sum(now - entry.began_at > late for entry in self._inside)
        if old * 2 > len(self._inside):
            self._set_cap(min(self.cap, max(FLOOR, self.in_flight / DEEPEST)))
            self._full_at = now

    def _discount_hung(self, now: float) -> None:
        self._swept_at = now
        nothing_ends = now - self._ended_at > HUNG * self.deadline
        for entry in list(self._inside):
            inside = now - entry.began_at
            if inside <= HUNG * self.deadline:
                break  # the others came later
            # In a queue the first ends first: what later ones have overtaken does not wait there.
            overtaken = entry.began_at < self._newest_ended
            natural = NATURAL_GOAL * self.bases.get(entry.route, 0.0)
            if (overtaken or nothing_ends) and inside > HUNG * max(entry.deadline, natural):
                del self._inside[entry]
                entry.counts = False
                self.in_flight -= 1
                self.hung += 1

    def _set_cap(self, cap: float) -> None:
        self.cap = min(self._most, max(float(self._least), cap))


def _means(pairs: list[tuple[float, int]]) -> tuple[float, float]:
    number = len(pairs)
    return sum(took for took, _ in pairs) / number, sum(inside for _, inside in pairs) / number
