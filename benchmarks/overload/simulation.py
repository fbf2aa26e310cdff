"""Run the overload guards against a server that is only arithmetic: deterministic, in no time.

Arrivals are Poisson with a seed. A threaded server is a FIFO door, threads that take requests from
it, and one interpreter that all running threads share equally; views wait, or hold a slot of a
pool, outside of it. An event loop is one FIFO run queue: requests come in, run, and resume there.
What it leaves out: the acceptor thread, switch intervals, the network.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from flask_concurrency.policies.late_guard import Entry
from flask_concurrency.policies.overload import OverloadGuards
from flask_concurrency.vocabulary.priority import Priority

REFUSAL = 0.0002
"""Seconds of the interpreter that a refusal costs: gunicorn's gthread 0.4 ms, granian 0.04."""


@dataclass(slots=True)
class Work:
    """What one request needs: the interpreter, then a wait, with a slot of the pool or without."""

    cpu: float
    wait: float = 0.0
    pooled: bool = False
    route: str = "view"
    priority: Priority = "normal"
    key: int | None = None
    deadline: float | None = None


@dataclass(slots=True)
class Request:
    """One request on its way."""

    arrived_at: float
    work: Work
    entry: Entry | None = None
    refused: bool = False
    attempts: int = 1


@dataclass(slots=True)
class Figures:
    """What came of the requests that arrived after the warm-up."""

    seconds: float
    arrived: int = 0
    good: int = 0
    late: int = 0
    refused: int = 0
    took: list[float] = field(default_factory=list)
    good_by: Counter[object] = field(default_factory=Counter)
    arrived_by: Counter[object] = field(default_factory=Counter)
    good_at: Counter[int] = field(default_factory=Counter)
    refused_at: Counter[int] = field(default_factory=Counter)
    arrived_at: Counter[int] = field(default_factory=Counter)

    @property
    def good_per_second(self) -> float:
        """Answers in time."""
        return self.good / self.seconds

    @property
    def share_refused(self) -> float:
        """Of all that arrived."""
        return self.refused / max(1, self.arrived)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 answers took at most, from their arrival."""
        return sorted(self.took)[int(0.99 * len(self.took))] if self.took else 0.0


Make = Callable[[random.Random, float], Work]
"""Makes what a request needs, from the random numbers and the instant."""


class Simulation:
    """One run.

    :param work: Makes what a request needs.
    :param rate: Requests a second at an instant.
    :param guards: Asked for every request; ``None`` to let all in.
    :param threads: Threads of the server; ``None`` for an event loop.
    :param slots: Places in the pool.
    :param fair: Whether who waits longest gets the next slot; else any does, as of
        ``threading.Semaphore``, where one that comes may be quicker than one that is woken.
    :param deadline: Seconds after which an answer is worth nothing.
    :param seconds: How long requests arrive.
    :param warm: Seconds at the beginning that are not counted.
    :param refusal: Seconds of the interpreter that a refusal costs.
    :param label: What requests are counted by.
    :param bucket: Seconds that are counted together over time.
    :param retries: How often a client that was refused comes back at once.
    """

    def __init__(
        self,
        work: Make,
        rate: Callable[[float], float],
        *,
        guards: OverloadGuards | None,
        threads: int | None = 16,
        slots: int = 10,
        fair: bool = True,
        deadline: float = 0.5,
        seconds: float = 12.0,
        warm: float = 3.0,
        seed: int = 1,
        refusal: float = REFUSAL,
        label: Callable[[Work], object] = lambda work: work.route,
        bucket: float = 0.5,
        retries: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.retries = retries
        self.make, self.rate, self.guards = work, rate, guards
        self.deadline, self.until, self.warm = deadline, seconds, warm
        self.refusal, self.label, self.bucket = refusal, label, bucket
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self.number = 0
        self.threads = threads
        self.free = inf if threads is None else threads
        self.door: deque[Request] = deque()
        self.slots = slots
        self.fair = fair
        self.pool: deque[Request] = deque()
        self.figures = Figures(seconds - warm)
        # the interpreter: shared by threads, or the loop's run queue
        self.running: list[tuple[float, int, Request]] = []
        self.attained = 0.0
        self.attained_at = 0.0
        self.generation = 0
        self.ready: deque[tuple[str, Request]] = deque()
        self.turning = False
        self.most_inside = 0

    def _at(self, when: float, what: Callable[..., None], *arguments: object) -> None:
        self.number += 1
        heapq.heappush(self.events, (when, self.number, what, arguments))

    def run(self) -> Figures:
        """Let all arrive, and see what comes of them."""
        self._at(self.random.expovariate(self.rate(0.0)), self._arrive)
        while self.events:
            self.now, _, what, arguments = heapq.heappop(self.events)
            if self.now > self.until + 5.0:
                break
            what(*arguments)
        return self.figures

    def _arrive(self) -> None:
        if self.now < self.until:
            self._at(self.now + self.random.expovariate(self.rate(self.now)), self._arrive)
        else:
            return
        self._come(Request(self.now, self.make(self.random, self.now)))
        if self.now >= self.warm:
            self.figures.arrived += 1
            self.figures.arrived_at[int(self.now / self.bucket)] += 1

    def _come(self, request: Request) -> None:
        if self.now >= self.warm:
            self.figures.arrived_by[self.label(request.work)] += 1
        if self.threads is None:
            self.ready.append(("begin", request))
            self._turn()
        else:
            self.door.append(request)
            self._take()

    # a threaded server
    def _take(self) -> None:
        while self.door and self.free > 0:
            request = self.door.popleft()
            self.free -= 1
            self._compute(request, request.work.cpu if self._ask(request) else self.refusal)

    def _compute(self, request: Request, seconds: float) -> None:
        self._pass_time()
        self.number += 1
        heapq.heappush(self.running, (self.attained + seconds, self.number, request))
        self._schedule()

    def _pass_time(self) -> None:
        if self.running:
            self.attained += (self.now - self.attained_at) / len(self.running)
        self.attained_at = self.now

    def _schedule(self) -> None:
        self.generation += 1
        if self.running:
            left = max(0.0, self.running[0][0] - self.attained) * len(self.running)
            self._at(self.now + left, self._computed, self.generation)

    def _computed(self, generation: int) -> None:
        if generation != self.generation:
            return
        self._pass_time()
        _, _, request = heapq.heappop(self.running)
        self._schedule()
        self._wait(request)

    # an event loop
    def _turn(self) -> None:
        if self.turning or not self.ready:
            return
        self.turning = True
        step, request = self.ready.popleft()
        if step == "resume":
            self.turning = False
            self._end(request)
            self._turn()
            return
        seconds = request.work.cpu if self._ask(request) else self.refusal
        self._at(self.now + seconds, self._turned, request)

    def _turned(self, request: Request) -> None:
        self.turning = False
        self._wait(request)
        self._turn()

    # both
    def _ask(self, request: Request) -> bool:
        guards, work = self.guards, request.work
        if guards is None:
            return True
        age = self.now - request.arrived_at
        if guards.refuses(self.now, age, work.priority, work.key):
            request.refused = True
            return False
        request.entry = guards.enter(self.now, age, work.deadline)
        self.most_inside = max(self.most_inside, guards.late.in_flight)
        return True

    def _wait(self, request: Request) -> None:
        if request.refused or not request.work.wait:
            self._finish(request)
        elif not request.work.pooled:
            self._at(self.now + request.work.wait, self._finish, request)
        elif self.slots > 0:
            self.slots -= 1
            self._at(self.now + request.work.wait, self._release, request)
        else:
            self.pool.append(request)

    def _release(self, request: Request) -> None:
        if self.pool:
            if not self.fair:
                self.pool.rotate(self.random.randrange(len(self.pool)))
            following = self.pool.popleft()
            self._at(self.now + following.work.wait, self._release, following)
        else:
            self.slots += 1
        self._finish(request)

    def _finish(self, request: Request) -> None:
        if self.threads is None:
            self.ready.append(("resume", request))
            self._turn()
        else:
            self.free += 1
            self._end(request)
            self._take()

    def _end(self, request: Request) -> None:
        if request.entry is not None and self.guards is not None:
            request.entry.route = request.work.route
            self.guards.late.leave(request.entry, self.now)
        if request.refused and request.attempts <= self.retries:
            self._come(Request(self.now, request.work, attempts=request.attempts + 1))
            return
        if request.arrived_at < self.warm:
            return
        took = self.now - request.arrived_at
        figures = self.figures
        if request.refused:
            figures.refused += 1
            figures.refused_at[int(request.arrived_at / self.bucket)] += 1
        elif took <= (request.work.deadline or self.deadline):
            figures.good += 1
            figures.took.append(took)
            figures.good_by[self.label(request.work)] += 1
            figures.good_at[int(request.arrived_at / self.bucket)] += 1
        else:
            figures.late += 1
            figures.took.append(took)


def cpu(random: random.Random, now: float) -> Work:
    """5 ms of the interpreter."""
    return Work(0.005 * random.uniform(0.7, 1.3))


def mix(random: random.Random, now: float) -> Work:
    """5 ms of the interpreter, and 45 ms of waiting."""
    return Work(0.005 * random.uniform(0.7, 1.3), 0.045 * random.uniform(0.9, 1.1))


def pool(random: random.Random, now: float) -> Work:
    """1 ms of the interpreter, and a slot of a pool for 50 ms."""
    return Work(0.001, 0.05 * random.uniform(0.9, 1.1), pooled=True)


def fast_and_slow(random: random.Random, now: float) -> Work:
    """Nine of ten take 12 ms, one takes a second."""
    if random.random() < 0.9:
        return Work(0.002, 0.01, route="fast")
    return Work(0.02, 1.0, route="slow", deadline=1.5)


def slower(work: Make, extra: float, begin: float, end: float) -> Make:
    """The same, with a dependency that is slower for a while."""

    def make(random: random.Random, now: float) -> Work:
        made = work(random, now)
        if begin <= now < end:
            made.wait += extra
        return made

    return make


def ceiling(load: float, served: float, refused: float = REFUSAL) -> float:
    """The share of its capacity that an app can answer, since refusals take time as well.

    :param load: What is offered, in capacities.
    :param served: Seconds of the interpreter for an answer; 0 if that is not what is scarce.
    :param refused: And for a refusal.
    """
    if load <= 1:
        return load
    return (1 - load * refused / served) / (1 - refused / served) if served else 1.0
