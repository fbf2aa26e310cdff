"""Say in one sentence how an app is doing, for a person in a hurry. Knows numbers, no page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from flask_concurrency.telemetry.load import LimitLoad, Load

Level = Literal["idle", "good", "busy", "bad"]

FEW: Final = 0.01
"""Share of requests below which refusals and errors are mentioned but alarm no one."""
MANY: Final = 0.10
LAG: Final = 0.1
"""Seconds a loop may be late before that is said."""
LONG: Final = 10.0
"""Seconds a job that could start may wait before that is a sign of too few workers."""
LEVELS: Final[tuple[Level, ...]] = ("idle", "good", "busy", "bad")


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is known of jobs.

    :ivar queued: Jobs that wait, for their time or for a worker.
    :ivar running: Jobs that run.
    :ivar longest_wait: Seconds for which the longest-waiting job could have started; ``0.0`` if
        none is due.
    :ivar workers: Workers that are alive; ``None`` if that is not known.
    :ivar failed: Jobs that failed lately.
    :ivar rescued: Jobs that were taken back lately from a worker that died.
    :ivar available: Whether jobs can be read and accepted.
    """

    queued: int = 0
    running: int = 0
    longest_wait: float = 0.0
    workers: int | None = None
    failed: int = 0
    rescued: int = 0
    available: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the last seconds.

    :ivar load: What came in.
    :ivar seconds: How many seconds that covers.
    :ivar limits: What limits decided, the one first that kept most out.
    :ivar waiting: Requests that wait now.
    :ivar wait: Seconds that requests waited lately, in the mean.
    :ivar cap: Requests that an adaptive limit lets in; ``None`` for no cap.
    :ivar age: Seconds that the youngest request had waited before it came in.
    :ivar lag: Seconds by which a loop is late.
    :ivar store_lost: Whether a process goes on without the store.
    :ivar jobs: How jobs stand; ``None`` if there are none.
    """

    load: Load = field(default_factory=Load)
    seconds: float = 1.0
    limits: Sequence[LimitLoad] = ()
    waiting: int = 0
    wait: float = 0.0
    cap: int | None = None
    age: float = 0.0
    lag: float = 0.0
    store_lost: bool = False
    jobs: JobFacts | None = None


def summary(facts: Facts) -> tuple[Level, str]:
    """How bad it is, and why: what is refused, by what; what is slow; then how jobs stand."""
    level, words = _of_requests(facts)
    if facts.jobs is None:
        return level, words
    of_jobs, more = jobs_in_words(facts.jobs)
    return max((level, of_jobs), key=LEVELS.index), f"{words} {more}".rstrip()


def jobs_in_words(jobs: JobFacts) -> tuple[Level, str]:
    """How bad it is with jobs, and why; an empty text if there is nothing to say."""
    if not jobs.available:
        return "bad", "Jobs can be neither read nor accepted."
    level: Level = "good" if jobs.running or jobs.queued else "idle"
    parts = []
    if jobs.running:
        parts.append(f"{jobs.running} running")
    if jobs.queued:
        waits = f", the oldest for {duration(jobs.longest_wait)}" if jobs.longest_wait else ""
        parts.append(f"{jobs.queued} queued{waits}")
    if jobs.failed:
        parts.append(f"{jobs.failed} failed lately")
    if jobs.rescued:
        parts.append(f"{jobs.rescued} taken back from a worker that died")
    if jobs.failed or jobs.rescued or jobs.longest_wait >= LONG:
        level = "busy"
    if jobs.longest_wait and jobs.workers == 0:
        parts.append("no worker is alive")
        level = "bad"
    return level, f"Jobs: {'; '.join(parts)}." if parts else ""


def _of_requests(facts: Facts) -> tuple[Level, str]:
    load = facts.load
    if not load.requests:
        rest = _rest(facts)
        return ("busy", f"No requests; {rest}.") if rest else ("idle", "No requests.")
    parts, level = [], "good"
    shares = (
        (load.refused, "refused", _by(facts)),
        (load.errors, "failed", ""),
        (load.late, "too late", ""),
    )
    for number, word, why in shares:
        if number:
            share = number / load.requests
            parts.append(f"{percent(share)} {word}{why}")
            level = "bad" if share >= MANY or level == "bad" else "busy"
            if share < FEW and word == "refused" and len(parts) == 1:
                level = "good"
    rest = _rest(facts)
    if rest:
        parts.append(rest)
        level = "busy" if level == "good" else level
    rate = per_second(load.requests / facts.seconds)
    if not parts:
        return "good", f"All well: {rate}, {duration(load.mean)} each."
    text = "; ".join(parts)
    return _level(level), f"{text[0].upper()}{text[1:]}. {rate} in all."


def percent(share: float) -> str:
    """``0.41`` as ``41 %``."""
    return "under 1 %" if 0 < share < 0.01 else f"{share * 100:.0f} %"


def duration(seconds: float) -> str:
    """Seconds in a unit that people read: ``86012`` as ``23.9 h``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    for most, unit, size in ((100, "s", 1), (6_000, "min", 60), (172_800, "h", 3_600)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def per_second(rate: float) -> str:
    """``0.5`` as ``30 requests a minute``."""
    if rate >= 1:
        return f"{rate:.3g} requests a second" if rate < 1000 else f"{rate:,.0f} requests a second"
    return f"{rate * 60:.3g} requests a minute"


def _by(facts: Facts) -> str:
    found = next((each for each in facts.limits if each.refused), None)
    if found is None:
        return ""
    place, _, text = found.limit.partition(":")
    what = text or place
    who = found.route or {"app": "the app", "default": "a route"}.get(place, "a route")
    if "in flight" in what:
        return f": {who} is over {what}"
    if found.results.get("shed"):
        return f": {what} sheds what would be late"
    return f": clients of {who} are over {what}"


def _rest(facts: Facts) -> str:
    parts = []
    if facts.waiting:
        waits = f", {duration(facts.wait)} each" if facts.wait else ""
        verb = "waits" if facts.waiting == 1 else "wait"
        parts.append(f"{facts.waiting} {verb}{waits}")
    if facts.cap is not None:
        parts.append(f"the adaptive limit lets {facts.cap} in")
    if facts.age >= LAG:
        parts.append(f"requests are {duration(facts.age)} old when they come in")
    if facts.lag >= LAG:
        parts.append(f"an event loop is {duration(facts.lag)} late")
    if facts.store_lost:
        parts.append("the store does not answer")
    return "; ".join(parts)


def _level(level: str) -> Level:
    return "bad" if level == "bad" else "busy" if level == "busy" else "good"
